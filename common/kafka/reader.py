"""Reading topics: to the end, where all of it fits in memory, and what arrives from then on, the moment it does."""

import time
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from common.kafka.connection import GROUP_PREFIX, BrokerError, Connection, explain
from common.kafka.topics import LEADERLESS, end_offsets, partition_ids

# Errors over which the client goes on by itself once a broker is back.
PASSING = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE, *LEADERLESS}


class Record(NamedTuple):
    """One Kafka record; timestamp in epoch milliseconds."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    timestamp: int


def read_all(connection: Connection, topic: str, at_least: int = 0, timeout: float = 30.0) -> list[Record]:
    """Every record of `topic` up to its present end, and on until there are `at_least` so many.

    Raises BrokerError when that takes longer than `timeout` seconds.
    """
    partitions = partition_ids(AdminClient(connection.client_options()), connection, topic)
    records: list[Record] = []
    at_end: set[int] = set()
    deadline = time.monotonic() + timeout
    with _consumer(connection, "read-all", {"enable.partition.eof": True}) as consumer:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        while len(at_end) < len(partitions) or len(records) < at_least:
            if time.monotonic() > deadline:
                raise BrokerError(f"{topic}: {len(records)} records within {timeout:g} s, of at least {at_least}")
            for message in consumer.consume(10_000, timeout=0.1):
                error = message.error()
                if error is None:
                    records.append(Record(message.key(), message.value(), message.partition(), message.offset(),
                                          message.timestamp()[1]))
                elif error.code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition())
                elif error.code() not in PASSING:
                    raise BrokerError(explain(connection, [error]))
    return records


def first_timestamp(connection: Connection, topic: str, timeout: float = 30.0) -> int | None:
    """The earliest timestamp of its partitions' first records, in epoch milliseconds; None where it holds none.

    Raises BrokerError.
    """
    unread = set(partition_ids(AdminClient(connection.client_options()), connection, topic))
    found: list[int] = []
    deadline = time.monotonic() + timeout
    with _consumer(connection, "first", {"enable.partition.eof": True}) as consumer:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
        while unread:
            if time.monotonic() > deadline:
                raise BrokerError(f"{topic}: the first records of {len(unread)} partitions did not come within {timeout:g} s")
            message = consumer.poll(0.1)
            if message is None:
                continue
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                if error.code() not in PASSING:
                    raise BrokerError(explain(connection, [error]))
            elif message.partition() in unread:
                unread.discard(message.partition())
                found += [message.timestamp()[1]] if error is None else []
                consumer.incremental_unassign([TopicPartition(topic, message.partition())])
    return min(found, default=None)


def from_ends(connection: Connection, *topics: str, group: str, wait_ms: int = 5) -> Consumer:
    """A consumer of what comes to `topics` from now on, to be closed; raises BrokerError.

    wait_ms: how long the broker may wait for something to come before it answers that there is nothing.
    """
    ends = [
        TopicPartition(topic, partition, end) for topic in topics for partition, end in end_offsets(connection, topic).items()
    ]
    # Where the topic is made anew meanwhile, from the beginning of the one that is there then.
    consumer = _consumer(connection, group, {"fetch.wait.max.ms": wait_ms, "auto.offset.reset": "earliest"})
    consumer.assign(ends)
    return consumer


def arrived(consumer: Consumer, timeout: float, at_most: int = 1_000) -> list[Message]:
    """What has come; waits up to `timeout` seconds for the first, and for no other.

    `consume` alone waits until it has as many as it is asked for, so that whoever measures when they come measures that.
    """
    first = consumer.poll(timeout)
    return [] if first is None else [first, *consumer.consume(at_most - 1, timeout=0)]


def read_new_partitions(consumer: Consumer, topic: str, timeout: float) -> KafkaError | None:
    """Read the partitions that the topic was given since, from their beginning, with a consumer that was assigned its partitions.

    timeout: seconds for the broker's answer; without one nothing changes. Returns what the broker says is wrong with the topic.
    """
    try:
        listed = consumer.list_topics(topic, timeout=timeout).topics[topic]
    except KafkaException:
        return None  # next time
    assigned = {each.partition for each in consumer.assignment() if each.topic == topic}
    if new := listed.partitions.keys() - assigned:
        consumer.incremental_assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in sorted(new)])
    return listed.error


def _consumer(connection: Connection, group: str, options: dict[str, Any]) -> Consumer:
    # The client requires a group; no offset is ever committed.
    usual = {**connection.client_options(), "group.id": f"{GROUP_PREFIX}{group}", "enable.auto.commit": False}
    return Consumer(usual | options)
