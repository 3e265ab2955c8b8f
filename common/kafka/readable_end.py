"""Tells whether a topic has records to read: behind an open transaction's first record nothing can be read, and a rolled back
transaction leaves offsets without records.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, TopicPartition

from common.kafka.connection import GROUP_PREFIX, Connection

POLL_SECONDS = 0.5  # after which a signal such as Ctrl-C is handled
MAX_OPEN_SECONDS = 60.0  # a transaction that is open longer is reported


def has_readable_record(
    connection: Connection, topic: str, since: Mapping[int, int], ends: Mapping[int, int], within: float
) -> bool | None:
    """Whether there is a record from the offsets `since` on, below `ends`; None without an answer `within` so many seconds.

    since, ends: by partition; ends: up to where the topic can be read (`read_end_offsets` with `committed`). A partition that is
    not in `since` is read from its beginning.
    """
    options = {
        "group.id": f"{GROUP_PREFIX}standstill",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }
    unread_partitions = {partition for partition, end in ends.items() if end > since.get(partition, 0)}
    deadline = time.monotonic() + within
    consumer = Consumer(connection.client_options() | options)
    try:
        consumer.assign([TopicPartition(topic, partition, since.get(partition, 0)) for partition in unread_partitions])
        while unread_partitions and (remaining := deadline - time.monotonic()) > 0:
            message = consumer.poll(min(remaining, POLL_SECONDS))
            if message is not None and message.error() is None:
                return True
            if message is not None and message.error().code() == KafkaError._PARTITION_EOF:
                unread_partitions.discard(message.partition())
        return None if unread_partitions else False
    finally:
        consumer.close()


@dataclass
class OpenTransactions:
    """Notices partitions of a topic that an open transaction blocks, and remembers for how long it has been reported."""

    topic: str
    _blocked: dict[int, tuple[int, float]] = field(default_factory=dict)  # by partition: from which offset, since when
    _reported: dict[int, float] = field(default_factory=dict)  # by partition: seconds, at the last report

    def describe_blocked(self, now: float, readable: Mapping[int, int], ends: Mapping[int, int]) -> list[str]:
        """A sentence for each partition that is blocked for MAX_OPEN_SECONDS, and again whenever that time has doubled."""
        for partition, offset in readable.items():
            if offset >= ends.get(partition, 0):
                self._blocked.pop(partition, None)
            elif self._blocked.get(partition, (None, 0.0))[0] != offset:
                self._blocked[partition] = (offset, now)
        lengths = {partition: now - since for partition, (_, since) in self._blocked.items()}
        # What is blocked for a shorter time than at its last report is blocked by another transaction.
        self._reported = {place: seconds for place, seconds in self._reported.items() if lengths.get(place, -1.0) >= seconds}
        due_partitions = [
            partition
            for partition, seconds in lengths.items()
            if seconds >= max(MAX_OPEN_SECONDS, 2 * self._reported.get(partition, 0.0))
        ]
        self._reported |= {partition: lengths[partition] for partition in due_partitions}
        return [self._describe(partition, lengths[partition]) for partition in due_partitions]

    def _describe(self, partition: int, seconds: float) -> str:
        return (
            f"a transaction of a producer on topic {self.topic} is open for {seconds:.0f} s: records of partition {partition} "
            f"from offset {self._blocked[partition][0]} on cannot be read until it ends, which Kafka enforces after that "
            "producer's transaction.timeout.ms"
        )
