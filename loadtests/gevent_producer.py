"""confluent-kafka under gevent: the client's own threads send, a greenlet takes the answers, nothing blocks the event loop."""

from collections.abc import Callable

import gevent
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from common.kafka.connection import Connection
from common.kafka.producers import producer_options

# topic, milliseconds, bytes, what went wrong
Report = Callable[[str, float, int, Exception | None], None]

POLL_SECONDS = 0.005
BUFFERED_RECORDS = 20_000
BUFFERED_MEGABYTES = 64


class BufferFull(Exception):
    """The broker does not keep up: the producer's buffer is full, and the event was not sent."""

    def __init__(self) -> None:
        super().__init__(f"buffer of {BUFFERED_RECORDS} records full")


class Sender:
    """An idempotent producer (acks=all) with bounded memory, shared by a process's users.

    Every record is reported once: with the time until the broker's acknowledgement, as the client library measured it, or
    with what went wrong. A full buffer is a failure that is reported, not a wait. Of labels those are reported that were lost.
    """

    def __init__(self, connection: Connection, report: Report) -> None:
        self._report = report
        self._producer = Producer(producer_options(connection, 0.001, 30, BUFFERED_RECORDS, BUFFERED_MEGABYTES))
        self._polling = gevent.spawn(self._poll)

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        try:
            self._producer.produce(topic, value, key, on_delivery=self._answered)
        except BufferError:
            self._report(topic, 0.0, len(value), BufferFull())
        except KafkaException as refused:  # larger than the client may send, say
            self._report(topic, 0.0, len(value), refused)

    def send_label(self, topic: str, key: bytes, value: bytes) -> None:
        try:
            self._producer.produce(topic, value, key, on_delivery=self._label_answered)
        except BufferError:
            self._report(topic, 0.0, len(value), BufferFull())
        except KafkaException as refused:
            self._report(topic, 0.0, len(value), refused)

    def drain(self) -> None:
        """Returns once every record is answered; one without an answer is given up, and reported, after the delivery timeout."""
        while len(self._producer):
            gevent.sleep(POLL_SECONDS)

    def _poll(self) -> None:
        while True:
            self._producer.poll(0)
            gevent.sleep(POLL_SECONDS)

    def _answered(self, error: KafkaError | None, message: Message) -> None:
        # The client's own clock: ours would add the wait for the next poll.
        milliseconds = max(0.0, message.latency() or 0.0) * 1_000
        self._report(message.topic(), milliseconds, len(message), KafkaException(error) if error else None)

    def _label_answered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._report(message.topic(), 0.0, len(message), KafkaException(error))
