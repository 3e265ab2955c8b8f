"""librdkafka's own mock broker: enough of Kafka for producers and readers, in this process, in milliseconds."""

import pytest
from confluent_kafka import Producer

from common.ingestion.connection import Connection


class MockKafka:
    """Gone, with its data, once `stop` was called."""

    def __init__(self):
        self._owner = Producer({"bootstrap.servers": "unused:9092", "test.mock.num.brokers": 1, "log_level": 0})
        broker, = self._owner.list_topics(timeout=10).brokers.values()
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
