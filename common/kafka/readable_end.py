"""What of a topic can be read: an open transaction keeps from everybody what comes after its first record, a rolled back one
leaves offsets without records.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, TopicPartition

from common.kafka.connection import GROUP_PREFIX, Connection

SLICE = 0.5  # seconds after which a signal is heard
HELD = 60.0  # seconds that a transaction may be open without a word


def is_there_a_record(
    connection: Connection, topic: str, since: Mapping[int, int], ends: Mapping[int, int], within: float
) -> bool | None:
    """Whether there is one from the offsets `since` on, below `ends`, by partition: None if no answer came within that many s.

    ends: offsets up to which the topic can be read (`read_end_offsets` with `committed`). A partition that is not in `since` is
    read from its beginning.
    """
    options = {"group.id": f"{GROUP_PREFIX}standstill", "enable.auto.commit": False, "auto.offset.reset": "earliest",
               "isolation.level": "read_committed", "enable.partition.eof": True}
    unread = {partition for partition, end in ends.items() if end > since.get(partition, 0)}
    deadline = time.monotonic() + within
    consumer = Consumer(connection.client_options() | options)
    try:
        consumer.assign([TopicPartition(topic, partition, since.get(partition, 0)) for partition in unread])
        while unread and (left := deadline - time.monotonic()) > 0:
            message = consumer.poll(min(left, SLICE))
            if message is not None and message.error() is None:
                return True
            if message is not None and message.error().code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
        return None if unread else False
    finally:
        consumer.close()


@dataclass
class OpenTransactions:
    """Which of a topic's partitions an open transaction holds up, and for how long it was said already."""

    topic: str
    _held: dict[int, tuple[int, float]] = field(default_factory=dict)  # from which offset, since when
    _said: dict[int, float] = field(default_factory=dict)

    def news(self, now: float, readable: Mapping[int, int], ends: Mapping[int, int]) -> list[str]:
        """A sentence for each that is held up for HELD seconds, and again whenever it is for twice as long."""
        for partition, offset in readable.items():
            if offset >= ends.get(partition, 0):
                self._held.pop(partition, None)
            elif self._held.get(partition, (None, 0.0))[0] != offset:
                self._held[partition] = (offset, now)
        self._said = {partition: said for partition, said in self._said.items() if self._seconds(partition, now) >= said}
        new = [each for each in self._held if self._seconds(each, now) >= max(HELD, 2 * self._said.get(each, 0.0))]
        self._said |= {partition: self._seconds(partition, now) for partition in new}
        return [self._line(partition, now) for partition in new]

    def _seconds(self, partition: int, now: float) -> float:
        return now - self._held[partition][1] if partition in self._held else -1.0

    def _line(self, partition: int, now: float) -> str:
        return (
            f"a transaction of a producer on topic {self.topic} is open for {self._seconds(partition, now):.0f} s: what came to "
            f"partition {partition} since offset {self._held[partition][0]} is read by nobody until it ends, which Kafka sees to "
            "after that producer's transaction.timeout.ms"
        )
