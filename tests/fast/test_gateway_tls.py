"""Connections before and amid TLS: counted from their begin, and HTTP as without once it is done."""

import http.client
import json
import resource
import socket
import ssl
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from common.gateway import protocol, server


@pytest.fixture
def secured(start_gateway, make_certificate, tmp_path):
    """(settings) -> a gateway that speaks TLS, and what a client needs to trust it."""
    certificate, key = make_certificate(tmp_path, "gateway")

    def start(**settings):
        return start_gateway(certificate=certificate, key=key, **settings), ssl.create_default_context(cafile=certificate)

    return start


def connect(gateway, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=10, source_address=(source, 0))


def hello(trust):
    """A client's first words of TLS."""
    said = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        trust.wrap_bio(ssl.MemoryBIO(), said, server_hostname="127.0.0.1").do_handshake()
    return said.read()


def cut_off(clients):
    """How many have been, in a while."""
    deadline, gone = time.monotonic() + 10, set()
    for client in clients:
        client.setblocking(False)
    while len(gone) < len(clients) - 4 and time.monotonic() < deadline:
        for client in set(clients) - gone:
            try:
                while client.recv(65536):
                    pass
                gone.add(client)
            except BlockingIOError:
                pass
            except OSError:
                gone.add(client)
        time.sleep(0.02)
    return len(gone)


@pytest.mark.parametrize("says", ["nothing", "half", "hello"])
def test_those_that_have_not_finished_tls_are_few_and_keep_nobody_out(secured, says):
    gateway, trust = secured(gateway_connections=8)
    said = {"nothing": b"", "half": hello(trust)[:50], "hello": hello(trust)}[says]
    with ExitStack() as stack:
        waiting = stack.enter_context(trust.wrap_socket(connect(gateway, "127.0.0.2"), server_hostname="127.0.0.1"))
        clients = [stack.enter_context(connect(gateway)) for _ in range(40)]
        for client in clients:
            with suppress(OSError):  # cut off already
                client.sendall(said)
        assert cut_off(clients) == 36, "one peer has half of 8"
        waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert waiting.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("piece", [1, 100, 10**6])
def test_a_request_that_comes_with_the_end_of_the_handshake_is_served(secured, piece):
    gateway, trust = secured()
    body = b"[" + b" " * 900_000 + b"]"
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trust.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with connect(gateway) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                said = outgoing.read()
                for begin in range(0, len(said), piece):
                    client.sendall(said[begin : begin + piece])
                incoming.write(client.recv(65536))
        tls.write(
            b"POST /v1/finance_fraud/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        tls.write(body)
        client.sendall(outgoing.read())  # with the client's last word of the handshake
        told = b""
        while b"accepted" not in told:
            try:
                told += tls.read(65536)
            except ssl.SSLWantReadError:
                part = client.recv(65536)
                assert part, told
                incoming.write(part)
    assert told.startswith(b"HTTP/1.1 202")


def test_what_is_no_tls_ends_at_once_and_others_are_served(secured, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 5)
    gateway, trust = secured()
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 500_000):
        with connect(gateway) as client:
            began = time.monotonic()
            try:
                client.sendall(said)
                while client.recv(65536):
                    pass
            except OSError:
                pass
            assert time.monotonic() - began < 4
    connection = http.client.HTTPSConnection("127.0.0.1", gateway.port, timeout=10, context=trust)
    for _ in range(3):
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert answer.status == 200 and json.loads(answer.read())
    connection.close()


def test_a_renewed_certificate_is_served_without_a_restart_and_an_unreadable_one_is_not(
    secured, make_certificate, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(server, "CERTIFICATE_CHECK_TICKS", 1)
    gateway, before = secured()

    def is_trusted(trust):
        with connect(gateway) as wire, suppress(ssl.SSLCertVerificationError):
            return trust.wrap_socket(wire, server_hostname="127.0.0.1").version() is not None
        return False

    assert is_trusted(before)
    (tmp_path / "renewed").mkdir()
    renewed, key = make_certificate(tmp_path / "renewed", "gateway")
    trust = ssl.create_default_context(cafile=renewed)
    for new in (key, renewed):
        (tmp_path / Path(new).name).write_bytes(Path(new).read_bytes())
    deadline = time.monotonic() + 20
    while not is_trusted(trust):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not is_trusted(before)
    (tmp_path / Path(renewed).name).write_text("no certificate")
    while "is served on" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert is_trusted(trust)


def test_a_certificate_that_may_not_be_looked_at_ends_nothing(secured, monkeypatch, caplog):
    gateway, trust = secured()
    stat = Path.stat

    def refuse(path, *_, **options):
        if Path(path).suffix == ".pem":
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(gateway.server.config.ssl, "load_cert_chain", refuse)
    monkeypatch.setattr(server, "CERTIFICATE_CHECK_TICKS", 1)
    deadline = time.monotonic() + 10
    while "is served on" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    assert caplog.text.count("is served on") == 1, "once, and not at every look"
    with connect(gateway) as wire:
        assert trust.wrap_socket(wire, server_hostname="127.0.0.1").version()


@pytest.mark.parametrize(("soft", "hard", "largest", "expected"), [
    (1_024, 524_288, 524_288, [524_288]), (256, resource.RLIM_INFINITY, 12_000, [resource.RLIM_INFINITY, 65_536, 10_240]),
    (50_000, resource.RLIM_INFINITY, 100_000, [resource.RLIM_INFINITY, 65_536]),
    (70_000, resource.RLIM_INFINITY, 100_000, [resource.RLIM_INFINITY]),
    (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 12_000, [resource.RLIM_INFINITY]),
])  # fmt: skip
def test_as_many_open_files_as_the_system_gives_are_asked_for(monkeypatch, soft, hard, largest, expected):
    asked = []

    def set_limit(_, limits):
        asked.append(limits[0])
        assert limits[1] == hard
        if limits[0] == resource.RLIM_INFINITY or limits[0] > largest:
            raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(server.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(server.resource, "setrlimit", set_limit)
    server._raise_file_limit()
    assert asked == expected
