"""Reads topics: all records of one that fits in memory, or records as they arrive, without delay."""

import time
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from common.kafka.connection import GROUP_PREFIX, BrokerError, Connection, explain_failure
from common.kafka.topics import LEADERLESS, end_offsets, partition_ids

# Errors after which the client continues by itself once a broker is back.
TRANSIENT_ERRORS = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE, *LEADERLESS}


class Record(NamedTuple):
    """One Kafka record; timestamp in epoch milliseconds."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    timestamp: int


def read_all(connection: Connection, topic: str, at_least: int = 0, timeout: float = 30.0) -> list[Record]:
    """Every record of `topic` up to its present end, and further ones until there are `at_least` so many.

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
                    records.append(
                        Record(message.key(), message.value(), message.partition(), message.offset(), message.timestamp()[1])
                    )
                elif error.code() == KafkaError._PARTITION_EOF:
                    at_end.add(message.partition())
                elif error.code() not in TRANSIENT_ERRORS:
                    raise BrokerError(explain_failure(connection, [error]))
    return records


def read_first_timestamp(connection: Connection, topic: str, timeout: float = 30.0) -> int | None:
    """The earliest timestamp of the first records of the topic's partitions, in epoch milliseconds; None where it is empty.

    Raises BrokerError.
    """
    unread_partitions = set(partition_ids(AdminClient(connection.client_options()), connection, topic))
    timestamps: list[int] = []
    deadline = time.monotonic() + timeout
    with _consumer(connection, "first", {"enable.partition.eof": True}) as consumer:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread_partitions])
        while unread_partitions:
            if time.monotonic() > deadline:
                count = len(unread_partitions)
                raise BrokerError(f"{topic}: the first records of {count} partitions did not come within {timeout:g} s")
            message = consumer.poll(0.1)
            if message is None:
                continue
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                if error.code() not in TRANSIENT_ERRORS:
                    raise BrokerError(explain_failure(connection, [error]))
            elif message.partition() in unread_partitions:
                unread_partitions.discard(message.partition())
                timestamps += [message.timestamp()[1]] if error is None else []
                consumer.incremental_unassign([TopicPartition(topic, message.partition())])
    return min(timestamps, default=None)


def consume_from_ends(connection: Connection, *topics: str, group: str, wait_ms: int = 5) -> Consumer:
    """A consumer of the records that `topics` get from now on, which the caller closes; raises BrokerError.

    wait_ms: how long the broker may wait for records before it answers that there are none.
    """
    ends = [
        TopicPartition(topic, partition, end) for topic in topics for partition, end in end_offsets(connection, topic).items()
    ]
    # Where a topic is created again meanwhile, it is read from its beginning.
    consumer = _consumer(connection, group, {"fetch.wait.max.ms": wait_ms, "auto.offset.reset": "earliest"})
    consumer.assign(ends)
    return consumer


def poll_batch(consumer: Consumer, timeout: float, at_most: int = 1_000) -> list[Message]:
    """The messages that have arrived; waits up to `timeout` seconds for the first, and for no other.

    `consume` alone waits until it has as many as it is asked for, which would falsify measured arrival times.
    """
    first_message = consumer.poll(timeout)
    return [] if first_message is None else [first_message, *consumer.consume(at_most - 1, timeout=0)]


def read_new_partitions(consumer: Consumer, topic: str, timeout: float) -> KafkaError | None:
    """Assign partitions that the topic has since got, from their beginning, to a consumer that was assigned the others.

    timeout: seconds for the broker's answer; without an answer nothing changes. Returns the broker's error for the topic.
    """
    try:
        description = consumer.list_topics(topic, timeout=timeout).topics[topic]
    except KafkaException:
        return None  # the next call tries again
    assigned = {assignment.partition for assignment in consumer.assignment() if assignment.topic == topic}
    if new_partitions := description.partitions.keys() - assigned:
        consumer.incremental_assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in sorted(new_partitions)])
    return description.error


def _consumer(connection: Connection, group: str, options: dict[str, Any]) -> Consumer:
    # The client requires a group; no offset is ever committed.
    defaults = {**connection.client_options(), "group.id": f"{GROUP_PREFIX}{group}", "enable.auto.commit": False}
    return Consumer(defaults | options)
