"""No token is in what a gateway leaves: what it printed, its log, and every file of its data folder."""

import gzip
import http.client
import json
import socket
import time
from contextlib import suppress

import pytest

from common.embedded.ports import find_free_port
from common.gateway.address import Address
from common.gateway.child_process import GatewayProcess
from common.gateway.tokens import TokenFile
from common.settings import Settings

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


def raw(port, *parts):
    """A request byte by byte; the answer, if there is one."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, suppress(OSError):
        connection.sendall(b"".join(parts))
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(65_536)


def status(port, token, method="GET", path="/v1/finance_fraud/alerts", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json", **headers}
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def until_up(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError):
            return status(port, "", path="/healthz")
        time.sleep(0.05)
    return None


def test_a_token_is_in_nothing_that_requests_of_any_kind_leave(broker, tmp_path, capfd, caplog):
    file = TokenFile(tmp_path)
    good = file.add("good", ["finance_fraud:write", "finance_fraud:read"], ["finance_fraud"])
    revoked = file.add("revoked", ["all:write"], ["finance_fraud"])
    file.revoke("revoked")
    unknown = f"{good.partition('.')[0]}.not-{good.partition('.')[2]}"
    address = Address.parse(f"127.0.0.1:{find_free_port()}")
    with GatewayProcess("finance_fraud", address, broker, Settings(data=tmp_path)) as beside:
        port = address.port
        assert until_up(port) == 200
        for token, refusal in ((good, 400), (revoked, 401), (unknown, 401)):
            for body in (b"{", b"\xff" * 9, json.dumps({"amount": token}), gzip.compress(b"{")):
                assert status(port, token, "POST", "/v1/finance_fraud/events", body) in (refusal, 422)
            status(port, token, "POST", "/v1/finance_fraud/events", b"no gzip", **{"content-encoding": "gzip"})
            status(port, token, path=f"/v1/finance_fraud/alerts?token={token}&limit={token}")
            status(port, token, path=f"/v1/{token}/alerts")
            status(port, token, method=token[:40], path=f"/{token}")
            raw(port, b"GET /readyz HTTP/1.1\r\nauthorization: Bearer ", token.encode(), b"\r\n broken\x00: x\r\n\r\n")
            raw(port, b"POST /v1/finance_fraud/events HTTP/9.9\r\nhost: x\r\nauthorization: Bearer ", token.encode(), b"\r\n\r\n")
            raw(port, token.encode(), b" ", token.encode(), b"\r\n\r\n")
            raw(port, b"\x16\x03\x01", token.encode())
        beside.keep_running()
    printed = "".join(capfd.readouterr()) + caplog.text
    left = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.name == "gateway.log" for path in left)
    for name, token in (("good", good), ("revoked", revoked), ("unknown", unknown)):
        secret = token.partition(".")[2]
        assert secret not in printed, name
        assert [path for path, held in left.items() if secret.encode() in held] == [], name
