"""Whether what a topic grew by can be read at all: a query that takes nothing of what nobody can read does not stand still."""

import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from common.kafka import readable_end
from common.kafka.connection import Connection
from common.kafka.readable_end import has_readable_record
from common.kafka.topics import create_topics, read_end_offsets
from common.streaming import stalled_queries
from common.streaming.stalled_queries import Activity, StandstillWatch

pytestmark = pytest.mark.broker


@pytest.fixture
def topic(broker, vertical_name):
    create_topics(AdminClient(broker.client_options()), broker, [vertical_name], partitions=2, replication=1)
    return vertical_name


@pytest.fixture
def producer(broker, topic):
    producer = Producer(broker.client_options() | {"transactional.id": topic})
    producer.init_transactions(30)
    return producer


@pytest.fixture
def watch(broker, topic, monkeypatch):
    """Looks at a query that does nothing; half a second is long."""
    waits = (
        (stalled_queries, "PATIENCE_SECONDS", 0.5), (stalled_queries, "CHECK_INTERVAL_SECONDS", 0.1),
        (readable_end, "MAX_OPEN_SECONDS", 0.5),
    )  # fmt: skip
    for module, name, seconds in waits:
        monkeypatch.setattr(module, name, seconds)
    monkeypatch.setattr(stalled_queries, "read_activity", lambda *_: Activity((7, "noon"), (3, 100)))
    return StandstillWatch(None, AdminClient(broker.client_options()), broker, topic)


def send(producer, topic, partition):
    producer.begin_transaction()
    producer.produce(topic, b"{}", partition=partition)
    producer.flush(20)


def looks(watch, seconds):
    """Whether it is found within so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := watch.find_stalled({"q": None})) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_what_an_open_transaction_holds_is_said_and_counts_once_it_can_be_read(watch, producer, topic, caplog):
    send(producer, topic, 1)
    assert looks(watch, 2.5) == {}
    told = [line for line in caplog.messages if f"on topic {topic} is open for" in line]
    assert 1 <= len(told) <= 3 and "partition 1 from offset 0 on cannot be read" in told[0]
    producer.commit_transaction(30)
    began = time.monotonic()
    assert looks(watch, 20) == {"q": 1}
    assert time.monotonic() - began >= 0.5, "it gets its time from then on"


def test_what_was_rolled_back_is_no_reason(watch, producer, broker, topic, caplog):
    send(producer, topic, 1)
    producer.abort_transaction(30)
    assert looks(watch, 3) == {} and not caplog.messages
    ends = read_end_offsets(AdminClient(broker.client_options()), broker, topic, committed=True)
    assert ends == {0: 0, 1: 2} and has_readable_record(broker, topic, {0: 0}, ends, 20) is False
    send(producer, topic, 1)
    producer.commit_transaction(30)
    assert looks(watch, 20) == {"q": 1}


def test_a_record_of_a_new_partition_is_one(producer, broker, topic):
    send(producer, topic, 1)
    producer.commit_transaction(30)
    assert has_readable_record(broker, topic, {0: 0}, {0: 0, 1: 2}, 20) is True


def test_a_broker_that_is_slow_to_answer_is_said_and_asked_again_with_more_time(watch, producer, topic, caplog, monkeypatch):
    monkeypatch.setattr(stalled_queries, "ANSWER_SECONDS", 0.001)
    assert looks(watch, 0.3) == {}  # its first sign of life: what came before that counts as read
    send(producer, topic, 0)
    producer.commit_transaction(30)
    assert looks(watch, 90) == {"q": 1}, caplog.messages
    told = [line for line in caplog.messages if "whether a query stands still is not known" in line]
    assert told and f"topic {topic} grew" in told[0]


def test_nobody_at_the_address_is_no_answer():
    assert has_readable_record(Connection("127.0.0.1:9"), "t", {0: 0}, {0: 5}, 0.2) is None
