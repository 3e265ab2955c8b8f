"""Consumes a topic of documents in another format, translates them and sends them to the events topic.

It does so at least once: an offset is committed after Kafka has acknowledged the translations of the records before it. What is
sent again after a stop has the same id, and is a duplicate for the archive.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from common.intake.translation import IntakeCounts, Translator
from common.kafka.connection import GROUP_PREFIX, MAX_SILENCE_SECONDS, BrokerError, Connection
from common.kafka.producers import Producer, RecordsRefused
from common.kafka.reader import TRANSIENT_ERRORS, poll_batch
from common.kafka.topics import read_end_offsets

LOG = logging.getLogger(__name__)

MAX_RECORDS = 500  # between two commits
POLL_SECONDS = 1.0  # after which a signal is heard, and the caller has its turn
QUEUE_KB = 16 * 1024  # that the client fetches ahead
SESSION_MS = 8_000  # after which another member, or this one started again, has the partitions of one that was killed
MAX_WAIT_SECONDS = 30.0  # without a partition, after which that is said
# The group gives the partitions to another member: what is not committed is read again there, or here.
NO_MEMBER = {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS,
             KafkaError._MAX_POLL_EXCEEDED}  # fmt: skip
# Errors of a commit that a later one may not have.
COMMITTED_LATER = TRANSIENT_ERRORS | {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR,
    KafkaError.REQUEST_TIMED_OUT, KafkaError._WAIT_COORD,
}  # fmt: skip


@dataclass
class _Progress:
    """Which of the topic's partitions this consumer has, and which of those it has read as far as `ends`.

    ends: offsets by partition as of the start; a partition that came later is read to its end.
    assigned: None while the group decides. waits_since: since when it has no partition; None where it has some, or that was said.
    """

    ends: Mapping[int, int]
    assigned: set[int] | None = None
    at_end: set[int] = field(default_factory=set)
    waits_since: float | None = field(default_factory=time.monotonic)

    def assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.assigned, self.at_end = {partition.partition for partition in partitions}, set()
        if self.assigned:
            self.waits_since = None

    def revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.assigned, self.waits_since = None, time.monotonic()

    def has_waited_too_long(self) -> bool:
        """Whether it has been without a partition for MAX_WAIT_SECONDS; true once a wait."""
        if self.waits_since is None or time.monotonic() - self.waits_since < MAX_WAIT_SECONDS:
            return False
        self.waits_since = None
        return True

    def note_record(self, record: Message) -> None:
        end = self.ends.get(record.partition())
        if end is not None and record.offset() + 1 >= end:
            self.at_end.add(record.partition())

    @property
    def is_idle(self) -> bool:
        return self.assigned is not None and self.assigned <= self.at_end


class TopicIntake:
    """Translates the records of one topic; several of the same vertical and topic share its partitions.

    A record that cannot be translated goes to the events topic as it is. One without a value (a tombstone) is passed over. One
    that Kafka refuses, mostly as too large for the events topic, stays where it is, which is logged and counted.
    delivery_timeout: seconds that a broker may be away before what is sent is given up.
    """

    def __init__(
        self, connection: Connection, topic: str, translator: Translator, delivery_timeout: float = MAX_SILENCE_SECONDS
    ) -> None:
        self._connection, self._topic, self._translator = connection, topic, translator
        self._delivery_timeout = delivery_timeout
        self._uncommitted: dict[int, int] = {}  # by partition, the offset behind what Kafka has acknowledged
        self._producer = self._new_producer()

    def run(self, counts: IntakeCounts, until_idle: bool = False, after_batch: Callable[[], None] = lambda: None) -> None:
        """Translate what is on the topic and what comes to it, until an exception.

        after_batch: called every second or oftener, so that the caller may report, or end this by an exception.
        until_idle: return once all that was on the topic at the start is translated and committed.
        Raises BrokerError, which may be DeliveryFailed.
        """
        admin = AdminClient(self._connection.client_options())
        progress = _Progress(read_end_offsets(admin, self._connection, self._topic, committed=True))
        with self._consumer(progress) as consumer:
            while not (until_idle and progress.is_idle and not self._uncommitted):
                records = self._read(consumer, progress)
                self._send(records, counts)
                self._commit(consumer, progress)
                if progress.has_waited_too_long():
                    LOG.warning(
                        "for %g s this process has had no partition of topic %s: other members of its consumer group have them, "
                        "or Kafka's coordinator of that group does not answer", MAX_WAIT_SECONDS, self._topic,
                    )  # fmt: skip
                after_batch()

    @contextmanager
    def _consumer(self, progress: _Progress) -> Iterator[Consumer]:
        consumer = Consumer({
            **self._connection.client_options(),
            "group.id": f"{GROUP_PREFIX}intake-{self._translator.vertical_name}-{self._topic}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": SESSION_MS // 4,
            "queued.max.messages.kbytes": QUEUE_KB,
        })  # fmt: skip
        try:
            consumer.subscribe([self._topic], on_assign=progress.assign, on_revoke=progress.revoke, on_lost=progress.revoke)
            yield consumer
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, progress: _Progress) -> list[Message]:
        records = []
        for message in poll_batch(consumer, POLL_SECONDS, MAX_RECORDS):
            error = message.error()
            if error is None:
                records.append(message)
                progress.note_record(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                progress.at_end.add(message.partition())
            elif error.code() not in TRANSIENT_ERRORS | NO_MEMBER:
                raise self._topic_error("read", error)
        return records

    def _send(self, records: Sequence[Message], counts: IntakeCounts) -> None:
        """Returns when Kafka has acknowledged or refused each; raises DeliveryFailed."""
        for record in records:
            value = record.value()
            if value is None:
                counts.tombstones += 1
                continue
            translation = self._translator.translate(record.key(), value)
            on_delivery = partial(counts.add, translation)
            self._producer.send(self._translator.topic, translation.key, translation.value, on_delivery=on_delivery)
        try:
            self._producer.flush()
        except RecordsRefused as problem:
            LOG.warning("%s. They stay on topic %s alone", problem, self._topic)
            counts.refused += problem.failed_count
            self._producer = self._new_producer()  # the old one would raise the same at each flush
        self._uncommitted |= {record.partition(): record.offset() + 1 for record in records}

    def _commit(self, consumer: Consumer, progress: _Progress) -> None:
        """Commit what is acknowledged; where the broker does not answer, the next call does. Raises BrokerError."""
        if not self._uncommitted:
            return
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in self._uncommitted.items()]
        try:
            answers = consumer.commit(offsets=offsets, asynchronous=False)
            error = next((answer.error for answer in answers if answer.error), None)
        except KafkaException as failure:
            error = failure.args[0]
        if error is None:
            self._uncommitted = {}
        elif error.code() in NO_MEMBER:
            self._uncommitted, progress.assigned = {}, None
        elif error.code() not in COMMITTED_LATER:
            raise self._topic_error("committed", error)

    def _topic_error(self, action: str, error: KafkaError) -> BrokerError:
        return BrokerError(f"topic {self._topic} at {self._connection.bootstrap_servers} cannot be {action}: {error.str()}")

    def _new_producer(self) -> Producer:
        return Producer(self._connection, delivery_timeout=self._delivery_timeout)
