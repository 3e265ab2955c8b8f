"""Disturbs a topic in ways that plain records do not: a transaction that is rolled back, one more partition, tombstones."""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from common.kafka.connection import Connection
from common.kafka.topics import partition_ids, topic_names
from common.vertical import Vertical
from loadtests.chaos.expected import with_event_id

ROLLED_BACK_RECORDS = 50
TOMBSTONES = 20
TIMEOUT_SECONDS = 60.0


def roll_back_transaction(connection: Connection, vertical: Vertical, values: Sequence[bytes]) -> int:
    """Send valid events in a transaction and roll it back; returns how many offsets it took, of which nobody may read any."""
    topic = topic_names(vertical).events
    partitions = partition_ids(AdminClient(connection.client_options()), connection, topic)
    producer = Producer({**connection.client_options(), "transactional.id": f"{vertical.name}-chaos"})
    producer.init_transactions(TIMEOUT_SECONDS)
    producer.begin_transaction()
    for number in range(ROLLED_BACK_RECORDS):
        value = with_event_id(vertical, values[number % len(values)], f"rolled-back-{number}")
        producer.produce(topic, value, partition=partitions[number % len(partitions)])
    producer.flush(TIMEOUT_SECONDS)
    producer.abort_transaction(TIMEOUT_SECONDS)
    return ROLLED_BACK_RECORDS + len(partitions)  # Kafka marks the end of the transaction in each partition


def add_partition(connection: Connection, vertical: Vertical) -> None:
    """Give the topic of events one more partition, and send tombstones to it."""
    topic, admin = topic_names(vertical).events, AdminClient(connection.client_options())
    count = len(partition_ids(admin, connection, topic)) + 1
    admin.create_partitions([NewPartitions(topic, count)])[topic].result()
    wait_until(
        lambda: len(partition_ids(admin, connection, topic)) == count, f"the topic {topic} still has {count - 1} partitions"
    )
    producer = Producer({**connection.client_options(), "acks": "all", "enable.idempotence": True})
    for number in range(TOMBSTONES):
        producer.produce(topic, None, b"tombstone-%d" % number, partition=count - 1)
    if undelivered := producer.flush(TIMEOUT_SECONDS):
        raise TimeoutError(f"{undelivered} tombstones were not taken within {TIMEOUT_SECONDS:g} s")


def wait_until(condition: Callable[[], bool], failure: str) -> None:
    """Returns when the condition holds; raises TimeoutError that begins with `failure` when it does not in time."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{failure} after {TIMEOUT_SECONDS:g} s")
        time.sleep(0.1)
