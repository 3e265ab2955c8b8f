"""Sends records to Kafka so that none is lost in silence."""

from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client

from common.kafka.connection import BrokerError, Connection

DeliveryCallback = Callable[[Message], None]

REFUSAL_CODES = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD)


class DeliveryFailed(BrokerError):
    """Some records did not reach Kafka. reasons: how many failed, by reason."""

    def __init__(self, connection: Connection, delivered: int, reasons: Counter[str]) -> None:
        self.delivered_count, self.failed_count, self.reasons = delivered, reasons.total(), dict(reasons)
        summary = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        super().__init__(
            f"{self.failed_count} records were not delivered to Kafka at {connection.bootstrap_servers}"
            f" ({delivered} were): {summary}"
        )


class RecordsRefused(DeliveryFailed):
    """Kafka answered, and refused these records, mostly as too large; all others were delivered."""


def producer_options(
    connection: Connection, linger: float, delivery_timeout: float, max_records: int, max_megabytes: int
) -> dict[str, Any]:
    """For confluent-kafka's producer, such that delivered records are stored once and in order. All times are in seconds."""
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

    A full buffer makes the caller wait. A broker that does not answer is tried again for `delivery_timeout` seconds; if records
    are not delivered by then, the next send, or the end, raises DeliveryFailed. After `flush` every record is counted in
    `delivered_count` or `failed_count`. linger: seconds a record may wait for others to share its request: more for throughput,
    0 for latency. A key goes to the same partition as with Kafka's Java clients.
    """

    def __init__(
        self,
        connection: Connection,
        linger: float = 0.005,
        delivery_timeout: float = 60.0,
        max_records: int = 100_000,
        max_megabytes: int = 64,
    ) -> None:
        self.connection = connection
        self.delivered_count = 0
        self.reasons: Counter[str] = Counter()
        self._is_broken = False
        self._delivery_timeout = delivery_timeout
        self._client = Client(producer_options(connection, linger, delivery_timeout, max_records, max_megabytes))

    @property
    def failed_count(self) -> int:
        return self.reasons.total()

    @property
    def buffered_count(self) -> int:
        """How many records wait for the broker's answer."""
        return len(self._client)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None = None,
        on_delivery: DeliveryCallback | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """Buffer one record. on_delivery: called with the delivered message, which has its partition and offset.

        timestamp: in epoch milliseconds; the time of sending if None. Topics created here replace it by the broker's.
        """
        options: dict[str, Any] = {} if timestamp is None else {"timestamp": timestamp}
        self._put(topic, key, value, options | ({"headers": list(headers)} if headers else {}), on_delivery)
        self._serve()

    def send_many(self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Buffer records in order, waiting for room as needed."""
        produce, count_answer = self._client.produce, self._count_answer
        for key, value in zip(keys, values, strict=True):
            try:
                produce(topic, value, key, on_delivery=count_answer)
            except (BufferError, KafkaException):
                self._put(topic, key, value, {})
        self._serve()

    def flush(self) -> None:
        """Wait until every record is delivered or failed; raises DeliveryFailed, which may be RecordsRefused, if any failed."""
        self._settle(self._delivery_timeout + 5)
        if self.reasons:
            raise (DeliveryFailed if self._is_broken else RecordsRefused)(self.connection, self.delivered_count, self.reasons)

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.flush()
        elif not isinstance(error, DeliveryFailed):
            self._settle(5)  # Ctrl-C and the like: buffered records are still sent if the broker answers
            if self.failed_count:
                error.add_note(f"{self.delivered_count} records were delivered, {self.failed_count} were not")

    def _put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        options: dict[str, Any],
        on_delivery: DeliveryCallback | None = None,
    ) -> None:
        def count_answer(error: KafkaError | None, message: Message) -> None:
            self._count_answer(error, message)
            if on_delivery and error is None:
                on_delivery(message)

        while True:
            try:
                self._client.produce(topic, value, key, on_delivery=count_answer, **options)
                return
            except BufferError:
                self._serve(0.05)  # back-pressure: answers, and timeouts of unanswered records, make room
            except KafkaException as failure:
                self._count_failure(failure.args[0])
                return

    def _count_answer(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.delivered_count += 1
        else:
            self._count_failure(error)

    def _count_failure(self, error: KafkaError) -> None:
        timed_out = error.code() == KafkaError._MSG_TIMED_OUT
        self.reasons[f"no answer from a broker within {self._delivery_timeout:g} s" if timed_out else error.str()] += 1
        # A record that the broker refuses does not end the sending of others; it is reported at the end.
        self._is_broken = self._is_broken or error.code() not in REFUSAL_CODES

    def _serve(self, wait: float = 0) -> None:
        """Take the broker's answers; if the broker itself failed, wait for the rest and raise DeliveryFailed."""
        self._client.poll(wait)
        if self._is_broken:
            self.flush()

    def _settle(self, timeout: float) -> None:
        """Wait until every record is counted; those without an answer within `timeout` seconds are given up."""
        if self._client.flush(timeout):
            self._client.purge()
            self._client.flush(1)
