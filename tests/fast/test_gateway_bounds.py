"""What may be asked of the gateway before it knows who asks: over real sockets, each bound, and who is served meanwhile."""

import http.client
import json
import socket
import time
from contextlib import ExitStack, contextmanager

import pytest

from common.gateway import event_intake, protocol
from common.gateway.alert_pages import MAX_PAGES_PER_CLIENT
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


@pytest.mark.parametrize(("head", "status"), [
    (POST.replace(b"/json", b"/xml"), b"415"), (POST.replace(b"events", b"event"), b"404"),
], ids=["type", "path"])  # fmt: skip
def test_a_body_that_was_not_waited_for_ends_its_connection(gateway, monkeypatch, head, status):
    for module in (protocol, event_intake):
        monkeypatch.setattr(module, "BODY_TIMEOUT_SECONDS", 0.4)
    with connect(gateway) as client:
        client.sendall(head + b"Content-Length: 1000000\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 " + status)
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
        kept.request(
            "POST",
            "/v1/finance_fraud/events",
            str(events).replace("'", '"'),
            {"content-type": "application/json", "authorization": f"Bearer {text}"},
        )
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


@contextmanager
def reading_little(gateway, request):
    """A client that has sent a request, and whose system takes little of the answer before it is read."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", gateway.port))
        client.sendall(request)
        yield client


def unwritten(gateway):
    """Bytes of answers that the server has in memory beside what it is about to send."""
    return sum(each.transport.get_write_buffer_size() for each in list(gateway.server.server_state.connections))


def read_answer(client):
    """The body of an answer, read to its end."""
    file = client.makefile("rb")
    size = 0
    while line := file.readline().strip():
        name, _, value = line.partition(b":")
        size = int(value) if name == b"content-length" else size
    return file.read(size)


PAGE = b"GET /v1/finance_fraud/alerts HTTP/1.1\r\nHost: localhost\r\n\r\n"
PAGE_BYTES = 9_000_000  # more than the system's buffers hold


@pytest.fixture
def large_pages(monkeypatch):
    monkeypatch.setattr("common.gateway.alert_pages.read_page", lambda *_: {"alerts": ["x" * PAGE_BYTES], "next": None})


def test_a_page_keeps_its_place_until_it_is_read(gateway, large_pages):
    with ExitStack() as stack:
        clients = [stack.enter_context(reading_little(gateway, PAGE)) for _ in range(MAX_PAGES_PER_CLIENT)]
        wait_until(lambda: unwritten(gateway) > 0)
        time.sleep(0.5)
        assert gateway.ask("GET", "/v1/finance_fraud/alerts")[0] == 429
        assert unwritten(gateway) < MAX_PAGES_PER_CLIENT * 256 * 1024
        assert len(read_answer(clients[0])) > PAGE_BYTES
        wait_until(lambda: gateway.ask("GET", "/v1/finance_fraud/alerts")[0] == 200)


def test_a_large_answer_of_the_intake_counts_as_memory_until_it_is_read(gateway, monkeypatch):
    monkeypatch.setattr(event_intake, "_result_answer", lambda *_: event_intake.Answer(202, b"x" * PAGE_BYTES))
    budget = gateway.gateway._intakes["/v1/finance_fraud/events"]._resources.budget
    with reading_little(gateway, POST + b"Content-Length: 100000\r\n\r\n" + b" " * 100_000) as client:
        wait_until(lambda: unwritten(gateway) > 0)
        assert unwritten(gateway) < 256 * 1024 and budget._bytes_by_client.total() >= 100_000
        assert len(read_answer(client)) == PAGE_BYTES
    wait_until(lambda: not budget._bytes_by_client)


def test_a_client_that_pauses_while_it_reads_gets_the_whole_answer(gateway, large_pages, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.3)
    with reading_little(gateway, PAGE) as client:
        time.sleep(1.5)
        assert len(read_answer(client)) > PAGE_BYTES


@pytest.mark.parametrize("seconds", [0.3, 30.0])
def test_the_last_of_an_answer_may_be_read_slowly_and_not_never(gateway, monkeypatch, seconds):
    """As much as one part waits, which stops no writer."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "WRITE_TIMEOUT_SECONDS", seconds)
    monkeypatch.setattr("common.gateway.asgi_bodies.PART_BYTES", PAGE_BYTES * 2)
    monkeypatch.setattr("common.gateway.alert_pages.read_page", lambda *_: {"alerts": ["x" * PAGE_BYTES], "next": None})
    with reading_little(gateway, PAGE) as client:
        wait_until(lambda: unwritten(gateway) > 0)
        time.sleep(1.5)
        assert (held(gateway) == 0) == (seconds < 1)
        if seconds > 1:
            assert len(read_answer(client)) > PAGE_BYTES


def slow_upload(gateway, text, path="/v1/finance_fraud/events"):
    """Status and header fields that http.client gets, which reads nothing before it has sent everything."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    headers = {"content-type": "application/json", "authorization": f"Bearer {text}", "content-length": "600000"}
    connection.request("POST", path, (time.sleep(0.1) or b" " * 50_000 for _ in range(12)), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def test_who_is_refused_while_sending_reads_why(start_gateway, tmp_path, monkeypatch, generated_events):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.3)
    text = TokenFile(tmp_path).add("shop", ["all:write"], ["finance_fraud"])
    gateway = start_gateway(gateway_rate=1)
    status, headers = slow_upload(gateway, "none")
    assert (status, headers["connection"]) == (401, "close")
    assert slow_upload(gateway, text, "/v1/finance_fraud/event")[0] == 404
    assert gateway.post(generated_events("finance_fraud", 30), authorization=f"Bearer {text}")[0] == 202
    status, headers = slow_upload(gateway, text)
    assert status == 429 and int(headers["retry-after"]) > 1 and headers["connection"] == "close"
    status, _, headers = gateway.post(generated_events("finance_fraud", 1), authorization=f"Bearer {text}")
    assert status == 429 and "connection" not in headers, "its body is all there, so the connection can stay"


def test_who_asks_before_it_sends_is_refused_without_being_asked_to(start_gateway):
    gateway = start_gateway(is_open=False)
    with connect(gateway) as client:
        client.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        answer = client.recv(1000)
    assert answer.startswith(b"HTTP/1.1 401") and b"connection: close" in answer
    wait_until(lambda: not gateway.server.server_state.tasks)


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize("piece", [1, 100, 10**6])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_offer_of_another_protocol_takes_no_body_away(gateway, generated_events, piece, is_chunked):
    event = json.dumps(generated_events("finance_fraud", 1)[0]).encode()
    chunked, whole = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n", b"Content-Length: %d\r\n\r\n%b"
    requests = (POST + OFFER + (chunked if is_chunked else whole) % (len(event), event)) * 2 + HEAD + OFFER + b"\r\n"
    with connect(gateway) as client:
        for start in range(0, len(requests), piece):
            client.sendall(requests[start : start + piece])
        answers = b""
        while answers.count(b"HTTP/1.1") < 3 or not answers.endswith(b"}"):
            part = client.recv(65536)
            assert part, answers
            answers += part
    assert answers.count(b"HTTP/1.1 202") == 2 and answers.count(b"HTTP/1.1 200") == 1


def test_what_stands_in_the_body_behind_an_offer_is_no_request(gateway):
    request, last = HEAD + b"\r\n", HEAD + b"Connection: close\r\n\r\n"
    with connect(gateway) as client:
        client.sendall(POST + OFFER + b"Content-Length: %d\r\n\r\n" % len(request) + request + last)
        answers = end_of(client)
    assert answers.count(b"HTTP/1.1 422") == 1 and answers.count(b"HTTP/1.1 200") == 1, answers


@pytest.mark.parametrize(
    "line", [b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", HEAD + OFFER.replace(b"h2c", b"websocket") + b"\r\n"]
)
def test_a_tunnel_is_refused_and_a_web_socket_is_a_request(gateway, line):
    with connect(gateway) as client:
        client.sendall(line)
        assert client.recv(1000).split()[1] in ((b"400", b"404", b"405") if line.startswith(b"CONNECT") else (b"200",))
    assert gateway.ask("GET", "/healthz")[0] == 200


def test_a_stream_with_a_request_behind_it_ends_with_its_connection(start_gateway, tmp_path, monkeypatch):
    monkeypatch.setattr("common.gateway.alert_routes.MAX_STREAMS_PER_CLIENT", 3)
    text = TokenFile(tmp_path).add("screen", ["all:read"], ["finance_fraud"])
    gateway, bearer = start_gateway(), b"Authorization: Bearer " + text.encode() + b"\r\n\r\n"
    for _ in range(3):
        with connect(gateway) as client:
            client.sendall(HEAD + b"\r\n" + PAGE.replace(b"alerts", b"alerts/stream")[:-2] + bearer + HEAD + b"\r\n")
            answers = b""
            while b"listening" not in answers:
                answers += client.recv(65536)
    wait_until(lambda: not gateway.server.server_state.tasks, seconds=5)
    with streaming(gateway, text) as again:
        assert again.status == 200


def test_who_leaves_requests_behind_that_wait_makes_no_error(start_gateway, caplog):
    gateway = start_gateway(is_open=False)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(gateway)) for _ in range(30)]
        for client in clients:
            client.sendall(b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        for client in clients:
            assert client.recv(100).startswith(b"HTTP/1.1 401")
    wait_until(lambda: not gateway.server.server_state.tasks)
    assert not [record for record in caplog.records if record.name == "uvicorn.error"]
