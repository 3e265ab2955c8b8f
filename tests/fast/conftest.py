"""librdkafka's own mock broker: enough of Kafka for producers and readers, in milliseconds. Over it, a gateway that listens.

And a disk that is full.
"""

import http.client
import json
import resource
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import date
from functools import cache

import pytest
from confluent_kafka import Producer

from common.embedded.ports import find_free_port
from common.gateway.address import Address
from common.gateway.authorization import Access
from common.gateway.server import GatewayServer
from common.gateway.tokens import TokenFile, Tokens
from common.installed import find_vertical, vertical_names
from common.kafka.connection import Connection
from common.settings import Settings


class MockKafka:
    """Gone, with its data, once `stop` was called."""

    def __init__(self):
        self._owner = Producer({"bootstrap.servers": "unused:9092", "test.mock.num.brokers": 1, "log_level": 0})
        (broker,) = self._owner.list_topics(timeout=10).brokers.values()
        self.connection = Connection(f"{broker.host}:{broker.port}")

    def stop(self):
        self._owner = None


@pytest.fixture
def mortal_kafka():
    kafka = MockKafka()
    yield kafka
    kafka.stop()


@pytest.fixture
def mock_kafka(mortal_kafka):
    return mortal_kafka.connection


class Running:
    """The gateway of all four verticals in a thread of this process."""

    def __init__(self, connection, data, is_open=True, certificate=None, key=None, **settings):
        address = Address.parse(f"127.0.0.1:{find_free_port()}", certificate, key)
        self.port, self._socket = address.port, address.listen()
        self.server = GatewayServer(
            [*map(find_vertical, vertical_names())],
            Settings(data=data, **settings),
            connection,
            Access(Tokens(TokenFile(data)), is_open),
            address,
        )
        self.gateway = self.server.gateway
        self._thread = threading.Thread(target=self.server.run, args=[[self._socket]])

    def __enter__(self):
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self._thread.join()

    def ask(self, method, path, body=None, **headers):
        """Status, JSON, headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null"), answer.headers
        finally:
            connection.close()

    def post(self, events, vertical="finance_fraud", content_type="application/json", **headers):
        body = events if isinstance(events, bytes) else json.dumps(events).encode()
        return self.ask("POST", f"/v1/{vertical}/events", body, content_type=content_type, **headers)


@cache
def generated(vertical, number):
    """Valid events of a vertical, as objects."""
    vertical = find_vertical(vertical)
    chunk = next(iter(vertical.generate(1, date(2020, 1, 1), 1, vertical.population(**vertical.small), False)))
    return [json.loads(value) for value in chunk.messages.values[:number]]


@pytest.fixture(scope="session")
def generated_events():
    """(vertical's name, number) -> that many valid events, as objects."""
    return generated


@pytest.fixture
def gateway(mortal_kafka, tmp_path):
    """A gateway over a mock broker of its own."""
    with Running(mortal_kafka.connection, tmp_path) as running:
        yield running


@pytest.fixture
def start_gateway(mortal_kafka, tmp_path):
    """Gateway(...) with settings of its own, ended with the test."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(Running(mortal_kafka.connection, tmp_path, **given))


@contextmanager
def without_room():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def no_room():
    """A context in which no file can be written to, as on a full disk: this process may write files of no byte only."""
    return without_room
