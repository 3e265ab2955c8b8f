"""Produces to Kafka under gevent: the client's own threads send, a greenlet takes the answers, nothing blocks the event loop."""

from collections.abc import Callable

import gevent
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from common.kafka.connection import Connection
from common.kafka.producers import producer_options

# (topic, milliseconds until the acknowledgement, bytes, the failure or None)
DeliveryReport = Callable[[str, float, int, Exception | None], None]

POLL_SECONDS = 0.005
BUFFERED_RECORDS = 20_000
BUFFERED_MEGABYTES = 64


class ProducerBufferFull(Exception):
    """The broker does not keep up: the producer's buffer is full, and the event was not sent."""

    def __init__(self) -> None:
        super().__init__(f"buffer of {BUFFERED_RECORDS} records full")


class Sender:
    """An idempotent producer (acks=all) with bounded memory, shared by a process's users.

    Every record is reported once: with the time until the broker's acknowledgement, as the client library measured it, or
    with what went wrong. A full buffer is reported as a failure; nobody waits for room. A label is reported only if it was lost.
    """

    def __init__(self, connection: Connection, report_delivery: DeliveryReport) -> None:
        self._report_delivery = report_delivery
        self._producer = Producer(producer_options(connection, 0.001, 30, BUFFERED_RECORDS, BUFFERED_MEGABYTES))
        self._polling = gevent.spawn(self._poll)

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        try:
            self._producer.produce(topic, value, key, on_delivery=self._report_event)
        except BufferError:
            self._report_delivery(topic, 0.0, len(value), ProducerBufferFull())
        except KafkaException as problem:  # larger than the client may send, say
            self._report_delivery(topic, 0.0, len(value), problem)

    def send_label(self, topic: str, key: bytes, value: bytes) -> None:
        try:
            self._producer.produce(topic, value, key, on_delivery=self._report_lost_label)
        except BufferError:
            self._report_delivery(topic, 0.0, len(value), ProducerBufferFull())
        except KafkaException as problem:
            self._report_delivery(topic, 0.0, len(value), problem)

    def drain(self) -> None:
        """Returns once every record is answered. One without an answer is reported as failed after the delivery timeout."""
        while len(self._producer):
            gevent.sleep(POLL_SECONDS)

    def _poll(self) -> None:
        while True:
            self._producer.poll(0)
            gevent.sleep(POLL_SECONDS)

    def _report_event(self, error: KafkaError | None, message: Message) -> None:
        # The client's own clock: ours would add the wait for the next poll.
        milliseconds = max(0.0, message.latency() or 0.0) * 1_000
        self._report_delivery(message.topic(), milliseconds, len(message), KafkaException(error) if error else None)

    def _report_lost_label(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._report_delivery(message.topic(), 0.0, len(message), KafkaException(error))
