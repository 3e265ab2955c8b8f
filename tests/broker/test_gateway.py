"""The gateway as a process of its own over a real broker: whatever is killed, what it acknowledged is on the topic."""

import asyncio
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest

from common.embedded.kafka import EmbeddedKafka
from common.embedded.ports import find_free_port
from common.gateway import protocol
from common.gateway.address import Address
from common.gateway.child_process import GatewayProcess
from common.kafka.connection import Connection
from common.kafka.reader import read_all
from common.settings import Settings

pytestmark = pytest.mark.broker

EVENT = {"card_id": "c", "terminal_id": "t", "amount": 1.5, "event_time": "2026-04-01T12:00:00.123Z"}
BATCH = 50


def start(port, kafka, data):
    command = [sys.executable, "-m", "common.cli", "gateway", "finance_fraud", "--open", "--http", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--bootstrap-servers", kafka.bootstrap_servers, "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HYBRID_GATEWAY_TIMEOUT": "2"},
    )
    line = process.stdout.readline()
    assert f"http://127.0.0.1:{port}" in line and "this machine only" in line, line
    return process


def ask(port, method, path, body=None, kind="application/json"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"content-type": kind})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def until_ready(port, ready=200):
    while True:
        with suppress(OSError):
            if ask(port, "GET", "/readyz")[0] == ready:
                return
        time.sleep(0.05)


class Client(threading.Thread):
    """Sends batches without pause, each event once, and remembers what was acknowledged and which answers it had."""

    def __init__(self, port, name, ending):
        super().__init__(name=name)
        self.port, self.ending = port, ending
        self.acknowledged, self.statuses, self.sent = [], set(), 0

    def run(self):
        while not self.ending.is_set():
            ids = [f"{self.name}-{self.sent + number}" for number in range(BATCH)]
            self.sent += BATCH
            body = "\n".join(json.dumps(EVENT | {"transaction_id": each}) for each in ids)
            try:
                status, told = ask(self.port, "POST", "/v1/finance_fraud/events", body, "application/x-ndjson")
                self.statuses.add(status)
                self.acknowledged += told.get("ids", [])
            except (OSError, http.client.HTTPException):
                self.statuses.add("gone")
                time.sleep(0.05)


def await_more(clients, number=500):
    before = sum(len(each.acknowledged) for each in clients)
    while sum(len(each.acknowledged) for each in clients) < before + number:
        assert all(each.is_alive() for each in clients)
        time.sleep(0.02)


@pytest.mark.timeout(240)
def test_all_that_was_acknowledged_is_on_the_topic_whatever_was_killed(tmp_path):
    port, ending = find_free_port(), threading.Event()
    with EmbeddedKafka(tmp_path / "kafka", partitions=2) as kafka:
        gateway = start(port, kafka, tmp_path)
        clients = [Client(port, f"client{number}", ending) for number in range(3)]
        try:
            until_ready(port)
            for client in clients:
                client.start()
            await_more(clients)
            gateway.kill()
            gateway.wait()
            gateway = start(port, kafka, tmp_path)
            await_more(clients)
            kafka.kill()
            until_ready(port, 503)
            kafka.start()
            until_ready(port)
            await_more(clients)
        finally:
            ending.set()
            for client in clients:
                if client.is_alive():
                    client.join(60)
            gateway.send_signal(signal.SIGTERM)
            rest, _ = gateway.communicate(timeout=30)
        assert gateway.returncode == 128 + signal.SIGTERM and "Traceback" not in rest, rest
        on_topic = {
            json.loads(record.value)["transaction_id"]
            for record in read_all(Connection(kafka.bootstrap_servers), "finance_fraud.events")
        }
    acknowledged = [each for client in clients for each in client.acknowledged]
    assert len(acknowledged) == len(set(acknowledged)) >= 1_500
    assert set(acknowledged) <= on_topic
    statuses = set.union(*(client.statuses for client in clients))
    assert {202, "gone", 503} <= statuses <= {202, "gone", 503, 429}


def test_it_says_that_it_is_up_once_it_is_and_a_taken_port_is_told(broker, tmp_path):
    command = [
        sys.executable,
        "-m",
        "common.cli",
        "gateway",
        "finance_fraud",
        "--bootstrap-servers",
        broker.bootstrap_servers,
        "--data",
        str(tmp_path),
    ]
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        done = subprocess.run([*command, "--http", taken], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    assert f"cannot listen at http://{taken}: another program listens there" in done.stderr, done.stderr
    port = find_free_port()
    gateway = subprocess.Popen([*command, "--http", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
    try:
        line = gateway.stdout.readline()
        status, told = ask(port, "POST", "/v1/finance_fraud/events", "{}")
        assert f"gateway at http://127.0.0.1:{port}, for nobody yet" in line
        assert status == 401 and "--open" in told["detail"]
    finally:
        gateway.terminate()
        gateway.communicate(timeout=30)


def test_beside_a_run_it_ends_with_it_and_is_started_again_when_it_dies(broker, tmp_path, monkeypatch):
    monkeypatch.setattr("common.gateway.child_process.FIRST_RESTART_SECONDS", 0.1)
    address, said = Address.parse(f"127.0.0.1:{find_free_port()}"), []
    settings = Settings(data=tmp_path, gateway_open=True)
    with GatewayProcess("finance_fraud", address, broker, settings, said.append) as beside:
        until_ready(address.port)
        assert ask(address.port, "POST", "/v1/finance_fraud/events", json.dumps(EVENT | {"transaction_id": "1"}))[0] == 202
        for number in range(2):
            beside.keep_running()
            [process] = psutil.Process(beside.pid).children()
            process.kill()
            deadline = time.monotonic() + 60
            while len(said) == number or beside.pid is None:
                assert time.monotonic() < deadline
                beside.keep_running()
                time.sleep(0.05)
            until_ready(address.port)
            assert ask(address.port, "POST", "/v1/finance_fraud/events", json.dumps(EVENT | {"transaction_id": "2"}))[0] == 202
    assert len(said) == 2 and all("-9" in line and "gateway.log" in line for line in said)
    with pytest.raises(ConnectionRefusedError):
        ask(address.port, "GET", "/healthz")


def test_over_tls_it_is_who_its_certificate_says_and_takes_nothing_in_plain_text(broker, make_certificate, tmp_path):
    address = Address.parse(f"127.0.0.1:{find_free_port()}", *make_certificate(tmp_path, "gateway"))
    trusting = ssl.create_default_context(cafile=address.certificate)

    def status(trust, method, path, body=None):
        connection = http.client.HTTPSConnection("127.0.0.1", address.port, timeout=30, context=trust)
        try:
            connection.request(method, path, body, {"content-type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()

    with GatewayProcess("finance_fraud", address, broker, Settings(data=tmp_path, gateway_open=True)):
        deadline, ready = time.monotonic() + 30, None
        while ready != 200 and time.monotonic() < deadline:
            with suppress(ConnectionError):
                ready = status(trusting, "GET", "/readyz")
            time.sleep(0.05)
        event = json.dumps(EVENT | {"transaction_id": "over tls"})
        assert status(trusting, "POST", "/v1/finance_fraud/events", event) == 202
        with pytest.raises(ssl.SSLCertVerificationError):
            status(ssl.create_default_context(), "GET", "/healthz")
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(address.port, "GET", "/healthz")


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01"], ids=["nothing", "half a hello"])
def test_a_tls_handshake_that_is_not_finished_in_time_is_broken_off(make_certificate, tmp_path, monkeypatch, begin):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.5)
    certificate, key = make_certificate(tmp_path, "gateway")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def ended_after():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(begin)
        began = loop.time()
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 20)
        writer.close()
        server.close()
        return loop.time() - began

    with asyncio.Runner(loop_factory=protocol.HandshakeLoop) as runner:
        assert runner.run(ended_after()) < 10
