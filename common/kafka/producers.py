"""Sending to Kafka so that nothing is lost in silence."""

from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client

from common.kafka.connection import BrokerError, Connection

Delivered = Callable[[Message], None]

REFUSALS = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD)


class Undelivered(BrokerError):
    """Some records did not reach Kafka. delivered, failed: counts; reasons: how many failed of what."""

    def __init__(self, connection: Connection, delivered: int, reasons: Counter[str]) -> None:
        self.delivered, self.failed, self.reasons = delivered, reasons.total(), dict(reasons)
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        super().__init__(
            f"{self.failed} records were not delivered to Kafka at {connection.bootstrap_servers}"
            f" ({delivered} were): {told}"
        )


class Refused(Undelivered):
    """Kafka is there, and refused these records themselves, mostly as too large; all others were delivered."""


def producer_options(
    connection: Connection, linger: float, delivery_timeout: float, max_records: int, max_megabytes: int
) -> dict[str, Any]:
    """For confluent-kafka's producer, so that what it reports as delivered is kept, once and in order. Seconds throughout."""
    return {
        **connection.client_options(),
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": linger * 1000,
        "delivery.timeout.ms": int(delivery_timeout * 1000),
        "queue.buffering.max.messages": max_records,
        "queue.buffering.max.kbytes": max_megabytes * 1024,
        "socket.nagle.disable": True,
    }


class Producer:
    """An idempotent producer with bounded memory, used as a context manager.

    A full buffer makes the caller wait; a broker that is gone is retried for `delivery_timeout` seconds; what was not
    delivered by then raises Undelivered at the next send, or at the end. Every record is in `delivered` or
    `failed` once `flush` is through. linger: seconds a record may wait for others to share its request: more for
    throughput, 0 for latency. The same key goes to the same partition as with Kafka's Java clients.
    """

    def __init__(self, connection: Connection, linger: float = 0.005, delivery_timeout: float = 60.0,
                 max_records: int = 100_000, max_megabytes: int = 64) -> None:
        self.connection = connection
        self.delivered = 0
        self.reasons: Counter[str] = Counter()
        self._broken = False
        self._delivery_timeout = delivery_timeout
        self._client = Client(producer_options(connection, linger, delivery_timeout, max_records, max_megabytes))

    @property
    def failed(self) -> int:
        return self.reasons.total()

    @property
    def buffered(self) -> int:
        """Records that wait for the broker's answer."""
        return len(self._client)

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, timestamp: int | None = None,
        delivered: Delivered | None = None, headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """Buffer one record; `delivered` is told its place.

        timestamp: in epoch milliseconds, the time of sending when None; topics made here put the broker's in its place.
        """
        given: dict[str, Any] = {} if timestamp is None else {"timestamp": timestamp}
        self._put(topic, key, value, given | ({"headers": list(headers)} if headers else {}), delivered)
        self._serve()

    def send_many(self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Buffer records in order, waiting for room as needed."""
        put, answered = self._client.produce, self._answered
        for key, value in zip(keys, values, strict=True):
            try:
                put(topic, value, key, on_delivery=answered)
            except (BufferError, KafkaException):
                self._put(topic, key, value, {})
        self._serve()

    def flush(self) -> None:
        """Wait until every record is delivered or failed; raises Undelivered, which may be Refused, if any failed."""
        self._settle(self._delivery_timeout + 5)
        if self.reasons:
            raise (Undelivered if self._broken else Refused)(self.connection, self.delivered, self.reasons)

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.flush()
        elif not isinstance(error, Undelivered):
            self._settle(5)  # Ctrl-C and the like: what was accepted still goes out if the broker is there
            if self.failed:
                error.add_note(f"{self.delivered} records were delivered, {self.failed} were not")

    def _put(
        self, topic: str, key: bytes | None, value: bytes | None, given: dict[str, Any], delivered: Delivered | None = None
    ) -> None:
        def answered(error: KafkaError | None, message: Message) -> None:
            self._answered(error, message)
            if delivered and error is None:
                delivered(message)

        while True:
            try:
                self._client.produce(topic, value, key, on_delivery=answered, **given)
                return
            except BufferError:
                self._serve(0.05)  # back-pressure: answers make room, and what has no answer in time is given up
            except KafkaException as failure:
                self._failed(failure.args[0])
                return

    def _answered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self._failed(error)

    def _failed(self, error: KafkaError) -> None:
        timed_out = error.code() == KafkaError._MSG_TIMED_OUT
        self.reasons[f"no answer from a broker within {self._delivery_timeout:g} s" if timed_out else error.str()] += 1
        # One record that the broker will not take says nothing of the next; it is told at the end.
        self._broken = self._broken or error.code() not in REFUSALS

    def _serve(self, wait: float = 0) -> None:
        """Take the broker's answers; once the broker itself failed, wait for the rest and raise Undelivered."""
        self._client.poll(wait)
        if self._broken:
            self.flush()

    def _settle(self, timeout: float) -> None:
        """Every record is counted afterwards: what has no answer within `timeout` seconds is given up."""
        if self._client.flush(timeout):
            self._client.purge()
            self._client.flush(1)
