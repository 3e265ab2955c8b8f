"""Sends records to Kafka from an event loop, and reports for each request which of them were not acknowledged.

A thread takes librdkafka's answers, and wakes the event loop once for all requests that are complete by then.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client

from common.kafka.connection import Connection
from common.kafka.producers import producer_options

POLL_SECONDS = 0.1  # the longest poll before the thread checks for shutdown
BROKER_CHECK_SECONDS = 0.5  # between tries to reach a broker while none answers
READY_CACHE_SECONDS = 1.0  # for which an answer about brokers is good
RECORD_OVERHEAD_BYTES = 64  # that a record takes in the buffer beside its key and value

Failure = tuple[bytes | None, KafkaError]


class BufferFull(Exception):
    """The buffer has no room for a request's records; none of them was sent."""


class BatchTooLarge(BufferFull):
    """A request's records are more than the whole buffer holds; the message says what that is."""


class BrokerUnavailable(Exception):
    """No broker answers; nothing was sent."""


class PendingDelivery:
    """The records of one request, on their way. Await `done`; `failures` are then those that were lost, with their errors."""

    __slots__ = ("done", "failures", "records", "size", "unanswered")

    def __init__(self, records: int, size: int, done: "asyncio.Future[None]") -> None:
        self.records = self.unanswered = records
        self.size = size
        self.done = done
        self.failures: list[Failure] = []


class AsyncProducer:
    """An idempotent producer for an event loop: every record is acknowledged by all replicas, or is a failure.

    linger: seconds a record may wait for others. A record that no broker took within `timeout` seconds has failed. on_fatal
    is called with an error after which no record can be sent any more. Call `start` within the loop, and `stop` in the end.
    """

    def __init__(
        self,
        connection: Connection,
        timeout: float,
        *,
        max_records: int = 100_000,
        max_megabytes: int = 64,
        linger: float = 0.001,
        on_fatal: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self._max_records, self._max_bytes = max_records, max_megabytes * 1024 * 1024
        options = producer_options(connection, linger, timeout, max_records, max_megabytes)
        self._client = Client({**options, "reconnect.backoff.max.ms": 1_000, "error_cb": self._on_error})
        self._on_fatal = on_fatal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=work, name=f"gateway{work.__name__}", daemon=True)
            for work in (self._take_answers, self._watch_brokers)
        ]
        self._check_brokers, self._unavailable, self._stopping = threading.Event(), threading.Event(), threading.Event()
        # Of the thread that takes answers: what is complete, and what the client refused to buffer.
        self._complete: list[PendingDelivery] = []
        self._unbuffered: deque[tuple[PendingDelivery, list[Failure]]] = deque()
        # Of the loop: the last check for a broker, and what is in the buffer.
        self._readiness: asyncio.Task[bool] | None = None
        self._readiness_at = 0.0
        self._buffered_records = self._buffered_bytes = 0

    @property
    def is_broker_unavailable(self) -> bool:
        """Whether no broker answered at the last try."""
        return self._unavailable.is_set()

    def start(self) -> None:
        """Starts the threads; to be called within the loop that sends."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ends the threads; what is buffered is still sent if a broker answers, for `timeout` seconds at most."""
        deadline = time.monotonic() + timeout
        while len(self._client) and not self.is_broker_unavailable and time.monotonic() < deadline:
            time.sleep(0.01)
        self._stopping.set()
        self._check_brokers.set()
        for thread in self._threads:
            thread.join()

    async def is_ready(self) -> bool:
        """Whether a broker answered within the last second. Requests that ask at once wait for one check together."""
        assert self._loop is not None
        is_old = self._loop.time() - self._readiness_at > READY_CACHE_SECONDS
        if self._readiness is None or (self._readiness.done() and is_old):
            self._readiness_at = self._loop.time()
            self._readiness = self._loop.create_task(asyncio.to_thread(self.has_broker))
        return await asyncio.shield(self._readiness)

    def has_broker(self, timeout: float = 1.0) -> bool:
        """Whether a broker answers; waits for its answer."""
        try:
            return bool(self._client.list_topics(timeout=timeout).brokers)
        except KafkaException:
            return False

    def send(self, topic: str, messages: list[dict[str, Any]]) -> PendingDelivery:
        """Buffers records, dictionaries of key and value, in order.

        Raises BatchTooLarge, BufferFull or BrokerUnavailable, and has buffered none of them then.
        """
        if self._unavailable.is_set():
            raise BrokerUnavailable
        size = sum(len(message["key"]) + len(message["value"]) + RECORD_OVERHEAD_BYTES for message in messages)
        if len(messages) > self._max_records or size > self._max_bytes:
            raise BatchTooLarge(f"at most {self._max_records:,} events or {self._max_bytes:,} bytes go to Kafka at once")
        if self._buffered_records + len(messages) > self._max_records or self._buffered_bytes + size > self._max_bytes:
            raise BufferFull
        assert self._loop is not None
        delivery = PendingDelivery(len(messages), size, self._loop.create_future())
        self._buffered_records += delivery.records
        self._buffered_bytes += size

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                delivery.failures.append((message.value(), error))
            self._count_answers(delivery, 1)

        try:
            if self._client.produce_batch(topic, messages, on_delivery=on_delivery) < len(messages):
                failures = [(message["value"], message["_error"]) for message in messages if "_error" in message]
                self._unbuffered.append((delivery, failures))
        except KafkaException as problem:
            self._unbuffered.append((delivery, [(message["value"], problem.args[0]) for message in messages]))
        return delivery

    def _take_answers(self) -> None:
        assert self._loop is not None
        while not self._stopping.is_set():
            self._client.poll(0.001 if self._unbuffered else POLL_SECONDS)
            while self._unbuffered:
                delivery, failures = self._unbuffered.popleft()
                delivery.failures += failures
                self._count_answers(delivery, len(failures))
            if self._complete:
                deliveries, self._complete = self._complete, []
                self._loop.call_soon_threadsafe(self._settle, deliveries)

    def _count_answers(self, delivery: PendingDelivery, records: int) -> None:
        delivery.unanswered -= records
        if not delivery.unanswered:
            self._complete.append(delivery)

    def _settle(self, deliveries: list[PendingDelivery]) -> None:
        for delivery in deliveries:
            self._buffered_records -= delivery.records
            self._buffered_bytes -= delivery.size
            if not delivery.done.done():  # it is, where the request was cancelled: its client has left
                delivery.done.set_result(None)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._on_fatal(error.str())
        elif error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE):
            self._check_brokers.set()

    def _watch_brokers(self) -> None:
        """After an error, asks until a broker answers: the client itself only looks for one while it has records to send."""
        while self._check_brokers.wait() and not self._stopping.is_set():
            self._check_brokers.clear()
            while not self.has_broker() and not self._stopping.wait(BROKER_CHECK_SECONDS):
                self._unavailable.set()
            self._unavailable.clear()
