"""What happens to a topic beside plain records: a transaction that is rolled back, a partition more, tombstones."""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from common.kafka.connection import Connection
from common.kafka.topics import partition_ids, topic_names
from common.vertical import Vertical
from loadtests.chaos.expected import renamed

ROLLED_BACK = 50  # records of the transaction
TOMBSTONES = 20
SECONDS = 60.0


def roll_back(connection: Connection, vertical: Vertical, values: Sequence[bytes]) -> int:
    """Send valid events in a transaction that is rolled back; returns the offsets that it took, of which nobody may read any."""
    topic = topic_names(vertical).events
    places = partition_ids(AdminClient(connection.client_options()), connection, topic)
    producer = Producer({**connection.client_options(), "transactional.id": f"{vertical.name}-chaos"})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    for number in range(ROLLED_BACK):
        value = renamed(vertical, values[number % len(values)], f"rolled-back-{number}")
        producer.produce(topic, value, partition=places[number % len(places)])
    producer.flush(SECONDS)
    producer.abort_transaction(SECONDS)
    return ROLLED_BACK + len(places)  # and in each partition the mark that says so


def add_partition(connection: Connection, vertical: Vertical) -> None:
    """Give the topic of events one partition more; what comes in it are tombstones."""
    topic, admin = topic_names(vertical).events, AdminClient(connection.client_options())
    count = len(partition_ids(admin, connection, topic)) + 1
    admin.create_partitions([NewPartitions(topic, count)])[topic].result()
    wait(lambda: len(partition_ids(admin, connection, topic)) == count, f"the topic {topic} has no partition more")
    producer = Producer({**connection.client_options(), "acks": "all", "enable.idempotence": True})
    for number in range(TOMBSTONES):
        producer.produce(topic, None, b"tombstone-%d" % number, partition=count - 1)
    if left := producer.flush(SECONDS):
        raise TimeoutError(f"{left} tombstones were not taken within {SECONDS:g} s")


def wait(until: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} after {SECONDS:g} s")
        time.sleep(0.1)
