"""Handing records to Kafka and hearing, request by request, what became of them.

librdkafka's answers are taken by a thread, and the event loop is woken once for all requests that came to an end together.
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

ANSWERS_SECONDS = 0.1  # the longest wait for answers before it is looked whether to end
LOOK_SECONDS = 0.5     # between looks for a broker that is away
READY_SECONDS = 1.0    # for which an answer about brokers is good
BEYOND_VALUE = 64      # bytes that a record takes in the buffer beside its key and value

Failure = tuple[bytes | None, KafkaError]


class Full(Exception):
    """The buffer has no room for a request's records; none of them was sent."""


class NeverFits(Full):
    """A request's records are more than the whole buffer holds; the message says what that is."""


class Away(Exception):
    """No broker answers; nothing was sent."""


class Sent:
    """The records of one request, on their way. Await `done`; `failures` are then those that were lost, with their errors."""

    __slots__ = ("done", "failures", "left", "records", "size")

    def __init__(self, records: int, size: int, done: "asyncio.Future[None]") -> None:
        self.records = self.left = records
        self.size = size
        self.done = done
        self.failures: list[Failure] = []


class Delivery:
    """An idempotent producer for an event loop: every record is acknowledged by all replicas, or is a failure.

    linger: seconds a record may wait for others. A record that no broker took within `timeout` seconds has failed.
    `start` it within the loop, `stop` it in the end. `fatal` is told what no later record would survive.
    """

    def __init__(self, connection: Connection, timeout: float, *, max_records: int = 100_000, max_megabytes: int = 64,
                 linger: float = 0.001, fatal: Callable[[str], None] = lambda problem: None) -> None:
        self._most_records, self._most_bytes = max_records, max_megabytes * 1024 * 1024
        options = producer_options(connection, linger, timeout, max_records, max_megabytes)
        self._client = Client({**options, "reconnect.backoff.max.ms": 1_000, "error_cb": self._told})
        self._fatal = fatal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [threading.Thread(target=work, name=f"gateway{work.__name__}", daemon=True)
                         for work in (self._take_answers, self._look_for_brokers)]
        self._suspect, self._away, self._ending = threading.Event(), threading.Event(), threading.Event()
        self._finished: list[Sent] = []                               # these two belong to the thread that takes answers
        self._refused: deque[tuple[Sent, list[Failure]]] = deque()
        self._look: asyncio.Task[bool] | None = None                  # these, too, belong to the loop
        self._looked = 0.0
        self._records = self._bytes = 0                               # in the buffer; these belong to the loop

    @property
    def away(self) -> bool:
        """Whether no broker answered when one was last looked for."""
        return self._away.is_set()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """What is buffered still goes out if a broker is there."""
        deadline = time.monotonic() + timeout
        while len(self._client) and not self.away and time.monotonic() < deadline:
            time.sleep(0.01)
        self._ending.set()
        self._suspect.set()
        for thread in self._threads:
            thread.join()

    async def is_ready(self) -> bool:
        """Whether a broker answers, as it was found within the last second. All who ask at once wait for one look."""
        assert self._loop is not None
        if self._look is None or (self._look.done() and self._loop.time() - self._looked > READY_SECONDS):
            self._looked = self._loop.time()
            self._look = self._loop.create_task(asyncio.to_thread(self.answers))
        return await asyncio.shield(self._look)

    def answers(self, timeout: float = 1.0) -> bool:
        """Whether a broker answers now; waits for it."""
        try:
            return bool(self._client.list_topics(timeout=timeout).brokers)
        except KafkaException:
            return False

    def send(self, topic: str, messages: list[dict[str, Any]]) -> Sent:
        """Buffer records, dictionaries of key and value, in order. Raises NeverFits, Full or Away, having buffered none."""
        if self._away.is_set():
            raise Away
        size = sum(len(each["key"]) + len(each["value"]) + BEYOND_VALUE for each in messages)
        if len(messages) > self._most_records or size > self._most_bytes:
            raise NeverFits(f"at most {self._most_records:,} events or {self._most_bytes:,} bytes go to Kafka at once")
        if self._records + len(messages) > self._most_records or self._bytes + size > self._most_bytes:
            raise Full
        assert self._loop is not None
        sent = Sent(len(messages), size, self._loop.create_future())
        self._records += sent.records
        self._bytes += size

        def answered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                sent.failures.append((message.value(), error))
            self._answered(sent, 1)

        try:
            if self._client.produce_batch(topic, messages, on_delivery=answered) < len(messages):
                self._refused.append((sent, [(each["value"], each["_error"]) for each in messages if "_error" in each]))
        except KafkaException as problem:
            self._refused.append((sent, [(each["value"], problem.args[0]) for each in messages]))
        return sent

    def _take_answers(self) -> None:
        assert self._loop is not None
        while not self._ending.is_set():
            self._client.poll(0.001 if self._refused else ANSWERS_SECONDS)
            while self._refused:
                sent, failures = self._refused.popleft()
                sent.failures += failures
                self._answered(sent, len(failures))
            if self._finished:
                finished, self._finished = self._finished, []
                self._loop.call_soon_threadsafe(self._settle, finished)

    def _answered(self, sent: Sent, records: int) -> None:
        sent.left -= records
        if not sent.left:
            self._finished.append(sent)

    def _settle(self, finished: list[Sent]) -> None:
        for sent in finished:
            self._records -= sent.records
            self._bytes -= sent.size
            if not sent.done.done():  # whoever asked may be gone
                sent.done.set_result(None)

    def _told(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal(error.str())
        elif error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE):
            self._suspect.set()

    def _look_for_brokers(self) -> None:
        """Once the client complains, asks until a broker answers: it would only look for one when it has records to send."""
        while self._suspect.wait() and not self._ending.is_set():
            self._suspect.clear()
            while not self.answers() and not self._ending.wait(LOOK_SECONDS):
                self._away.set()
            self._away.clear()
