"""What may be asked of the gateway before it knows who asks: over real sockets, each bound, and who is served meanwhile."""

import http.client
import socket
import time
from contextlib import ExitStack, contextmanager

import pytest

from common.gateway import protocol
from common.gateway.tokens import TokenFile

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/finance_fraud/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
A_LOT = 64 << 20  # bytes that nobody should be let send


def connect(gateway, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=10, source_address=(source, 0))


def held(gateway):
    """Connections that the server holds."""
    return len(gateway.server.server_state.connections)


def wait_until(holds, seconds=10):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def end_of(client):
    """What is still said before the connection ends."""
    said = b""
    try:
        while part := client.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


def sent_before_the_end(client, parts):
    sent = 0
    try:
        for part in parts:
            client.sendall(part)
            sent += len(part)
            if sent > A_LOT:
                break
    except OSError:
        pass
    return sent


def fields(size):
    return (b"X-%d: %b\r\n" % (number, b"a" * size) for number in range(10**9))


ENDLESS = {
    "fields of 60 KB": (HEAD, lambda: fields(60_000)),
    "small fields": (HEAD, lambda: fields(5)),
    "one field": (HEAD + b"X: ", lambda: iter(lambda: b"a" * 65536, None)),
    "one name": (HEAD, lambda: iter(lambda: b"a" * 65536, None)),
    "the path": (b"GET /", lambda: iter(lambda: b"a" * 65536, None)),
    "empty lines": (b"", lambda: iter(lambda: b"\r\n" * 30_000, None)),
    "a trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n0\r\nX: ", lambda: iter(lambda: b"a" * 65536, None)),
    "a chunk's extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;x=", lambda: iter(lambda: b"a" * 65536, None)),
    "no HTTP at all": (b"\x16\x03\x01", lambda: iter(lambda: b"\x00" * 65536, None)),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_head_without_end_is_cut_off(gateway, name):
    begin, parts = ENDLESS[name]
    with connect(gateway) as client:
        client.sendall(begin)
        assert sent_before_the_end(client, parts()) < 16 << 20  # what the buffers of both ends may hold
    wait_until(lambda: held(gateway) == 0)
    assert gateway.ask("GET", "/healthz")[0] == 200


@pytest.mark.parametrize("head", [
    HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(protocol.MAX_HEAD_FIELDS)) + b"\r\n",
    HEAD + b"X: " + b"a" * protocol.MAX_HEAD_BYTES + b"\r\n\r\n",
    b"GET /" + b"a" * protocol.MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
], ids=["fields", "a field", "the path"])  # fmt: skip
def test_a_head_that_is_too_large_is_told_so(gateway, head):
    with connect(gateway) as client:
        client.sendall(head)
        answer = end_of(client)
    assert answer.startswith(b"HTTP/1.1 431") and b"100 fields" in answer


def test_a_head_of_the_size_that_is_allowed_is_read(gateway):
    size = protocol.MAX_HEAD_BYTES - 200
    assert gateway.ask("GET", "/healthz", x="a" * size)[0] == 200
    assert gateway.ask("GET", "/healthz", **{f"x{number}": "a" for number in range(protocol.MAX_HEAD_FIELDS - 5)})[0] == 200


@pytest.mark.parametrize("trickle", [b"", b"a"], ids=["half", "byte by byte"])
@pytest.mark.parametrize("begin", [b"", b"\r\n", b"GET /hea", HEAD + b"X: "], ids=["nothing", "an empty line", "path", "field"])
def test_a_head_that_is_not_whole_in_time_ends_its_connection(gateway, monkeypatch, begin, trickle):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.4)
    with connect(gateway) as client:
        client.sendall(begin)
        began, said = time.monotonic(), b""
        client.settimeout(0.05)
        while time.monotonic() - began < 5:
            try:
                part = client.recv(1000)
            except TimeoutError:
                if trickle and begin:
                    client.sendall(trickle)
                continue
            except ConnectionResetError:
                break
            said += part
            if not part:
                break
        assert time.monotonic() - began < 3
    assert said.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")) == bool(begin), said


def test_a_second_head_has_as_long_as_the_first(gateway, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.4)
    with connect(gateway) as client:
        client.sendall(HEAD + b"\r\n" + HEAD)
        assert end_of(client).count(b"HTTP/1.1 200") == 1


def test_a_body_that_was_not_waited_for_ends_its_connection(gateway, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.4)
    with connect(gateway) as client:
        client.sendall(POST.replace(b"/json", b"/xml") + b"Content-Length: 1000000\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 415")
        began = time.monotonic()
        sent_before_the_end(client, (time.sleep(0.05) or b"a" for _ in range(100)))
        assert time.monotonic() - began < 3


def test_who_only_connects_or_sends_half_a_request_keeps_nobody_out(start_gateway, generated_events):
    gateway, events = start_gateway(gateway_connections=8), generated_events("finance_fraud", 1)
    with ExitStack() as stack:
        for number in range(40):
            client = stack.enter_context(connect(gateway))
            client.sendall((b"", HEAD, POST + b"Content-Le")[number % 3])
            if number % 8 == 0:
                assert gateway.post(events)[0] == 202
        wait_until(lambda: held(gateway) <= 8)


def test_the_flood_of_one_peer_pushes_out_its_own(start_gateway):
    gateway = start_gateway(gateway_connections=8)
    with ExitStack() as stack, connect(gateway, "127.0.0.2") as other:
        other.sendall(HEAD)
        for _ in range(30):
            stack.enter_context(connect(gateway))
        wait_until(lambda: held(gateway) <= 5)
        other.sendall(b"\r\n")
        assert other.recv(1000).startswith(b"HTTP/1.1 200")


@contextmanager
def streaming(gateway, text, vertical="finance_fraud"):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", f"/v1/{vertical}/alerts/stream", headers={"authorization": f"Bearer {text}"})
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def test_those_with_a_token_keep_their_places(start_gateway, tmp_path, generated_events):
    text = TokenFile(tmp_path).add("shop", ["all:write"], ["finance_fraud"])
    gateway, events = start_gateway(gateway_connections=4), generated_events("finance_fraud", 1)
    kept = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)

    def send():
        kept.request("POST", "/v1/finance_fraud/events", str(events).replace("'", '"'),
                     {"content-type": "application/json", "authorization": f"Bearer {text}"})
        answer = kept.getresponse()
        answer.read()
        return answer.status

    assert send() == 202
    own = kept.sock
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(gateway))
        wait_until(lambda: held(gateway) <= 5)
        assert send() == 202 and kept.sock is own
    kept.close()


def seeing(text):
    """A request of a token for /openapi.json."""
    return b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + text.encode() + b"\r\n\r\n"


def half_sent(text):
    """Half a request of a token; the other half is `]`."""
    return POST + b"Authorization: Bearer " + text.encode() + b"\r\nContent-Length: 2\r\n\r\n["


def test_the_idle_connection_of_a_token_goes_for_a_busy_one_and_no_busy_one_goes(start_gateway, tmp_path):
    file = TokenFile(tmp_path)
    first, second, third, fourth, fifth = (file.add(name, ["all:read", "all:write"], ["finance_fraud"]) for name in "abcde")
    gateway = start_gateway(gateway_connections=4)
    with ExitStack() as stack:
        idle = stack.enter_context(connect(gateway))
        idle.sendall(seeing(first))
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        opened = [stack.enter_context(streaming(gateway, text)) for text in (second, third)]
        with streaming(gateway, fourth) as one_more:
            assert [each.status for each in (*opened, one_more)] == [200, 200, 503], "half of the places are for streams"
        sending = [stack.enter_context(connect(gateway)) for _ in range(2)]
        for client, text in zip(sending, (fourth, fifth), strict=True):
            client.sendall(half_sent(text))
        end_of(idle)  # gone for the second of them
        assert gateway.ask("GET", "/openapi.json", authorization=f"Bearer {first}")[0] == 503
        for client in sending:
            client.sendall(b"]")
            assert client.recv(100).startswith(b"HTTP/1.1 202")
        assert [each.readline() for each in opened] == [b": listening\n"] * 2
        assert gateway.ask("GET", "/openapi.json", authorization=f"Bearer {first}")[0] == 200


def test_one_token_s_requests_without_end_keep_no_other_out(start_gateway, tmp_path):
    file = TokenFile(tmp_path)
    greedy, other = (file.add(name, ["all:read", "all:write"], ["finance_fraud"]) for name in "ab")
    gateway = start_gateway(gateway_connections=16)
    with ExitStack() as stack:
        sending = []
        for _ in range(4):
            sending.append(stack.enter_context(connect(gateway)))
            sending[-1].sendall(half_sent(greedy))
        wait_until(lambda: gateway.ask("GET", "/openapi.json", authorization=f"Bearer {greedy}")[0] == 429)
        for _ in range(20):
            more = stack.enter_context(connect(gateway))
            more.sendall(half_sent(greedy))
            answer = more.recv(1000)
            assert answer.startswith(b"HTTP/1.1 429") and b"in 4 connections" in answer
        kept = stack.enter_context(connect(gateway))
        for _ in range(2):
            kept.sendall(seeing(other))
            assert kept.recv(100).startswith(b"HTTP/1.1 200")
            while kept.recv(65536)[-1:] != b"}":
                pass
        kept.sendall(half_sent(greedy))
        assert kept.recv(1000).startswith(b"HTTP/1.1 429"), "nor by a connection that was another's"
        for client in sending:
            client.sendall(b"]")
            assert client.recv(100).startswith(b"HTTP/1.1 202")
        more = stack.enter_context(connect(gateway))
        more.sendall(seeing(greedy))
        assert more.recv(100).startswith(b"HTTP/1.1 200")
        end_of(sending[0])  # gone for it: the longest idle of its own


def test_a_token_has_so_many_streams(start_gateway, tmp_path, monkeypatch):
    monkeypatch.setattr("common.gateway.alert_routes.MAX_STREAMS_PER_CLIENT", 3)
    file = TokenFile(tmp_path)
    first, second = (file.add(name, ["all:read"], ["finance_fraud"]) for name in ("a", "b"))
    gateway = start_gateway()
    with ExitStack() as stack:
        opened = [stack.enter_context(streaming(gateway, first)) for _ in range(3)]
        assert [each.status for each in opened] == [200] * 3
        with streaming(gateway, first, "telecom_anomaly") as fourth:
            assert fourth.status == 429
        with streaming(gateway, second) as other:
            assert other.status == 200
        opened[0].close()
    wait_until(lambda: held(gateway) == 0)
    with streaming(gateway, first) as again:
        assert again.status == 200


def test_requests_that_wait_behind_another_are_few(gateway):
    with connect(gateway) as client:
        client.sendall((HEAD + b"\r\n") * 1_000)
        answers = end_of(client)
    answered = protocol.MAX_PIPELINED_REQUESTS + 1
    assert answers.count(b"HTTP/1.1 200") == answered and answers.count(b"HTTP/1.1") == answered + 1
    assert b"HTTP/1.1 431" in answers and b"at most 16 requests wait" in answers
    assert gateway.ask("GET", "/healthz")[0] == 200


def test_who_reads_nothing_of_an_answer_is_cut_off(gateway, monkeypatch):
    monkeypatch.setattr(protocol, "WRITE_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.3)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", gateway.port))
        try:
            for _ in range(200):
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
                time.sleep(0.01)
        except OSError:
            pass
        wait_until(lambda: held(gateway) == 0)
