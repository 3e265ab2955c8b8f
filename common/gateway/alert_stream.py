"""Hands alerts to any number of listeners as they arrive: one consumer for each vertical, one bounded queue for each listener."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import orjson
from confluent_kafka import Consumer, Message

from common.gateway.alert_json import alert_object, to_json
from common.kafka.connection import Connection
from common.kafka.reader import TRANSIENT_ERRORS, consume_from_ends, poll_batch, read_new_partitions

MAX_QUEUED_ALERTS = 1_000  # that a listener may be behind
POLL_SECONDS = 0.2  # the longest poll before the thread checks whether to stop
KEEP_ALIVE_SECONDS = 15  # without an alert, after which a comment is sent
PARTITION_CHECK_SECONDS = 10.0  # between checks for partitions that were added to the topic


class Listener:
    """A queue of alerts' JSON. has_overflowed: it was full; failure: why the topic is not read. No alert comes after either."""

    def __init__(self) -> None:
        self.alerts: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_ALERTS)
        self.has_overflowed = False
        self.failure: str | None = None

    def put(self, alerts: list[bytes]) -> None:
        """Adds alerts; from the first on that finds the queue full, none is added any more."""
        for alert in alerts:
            if self.has_overflowed or self.alerts.full():
                self.has_overflowed = True
                return
            self.alerts.put_nowait(alert)


class AlertStream:
    """The alerts that arrive on one topic. Its consumer runs as long as there is a listener."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self._connection, self._topic = connection, topic
        self._listeners: set[Listener] = set()
        self._stop_consumer: threading.Event | None = None  # None: none runs
        self._starting = asyncio.Lock()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Listener]:
        """A listener that gets every alert that arrives from now on; raises BrokerError."""
        listener = Listener()
        async with self._starting:
            if self._stop_consumer is None:
                await self._start_consumer()
            self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._stop_consumer:
                self._stop_consumer.set()
                self._stop_consumer = None

    async def _start_consumer(self) -> None:
        consumer = await asyncio.to_thread(consume_from_ends, self._connection, self._topic, group="gateway", wait_ms=500)
        stop, loop = threading.Event(), asyncio.get_running_loop()
        thread = threading.Thread(target=self._consume, args=(consumer, stop, loop), name=f"listen-{self._topic}", daemon=True)
        thread.start()
        self._stop_consumer = stop

    def _consume(self, consumer: Consumer, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        partitions_checked_at = time.monotonic()
        with consumer:
            while not stop.is_set():
                messages = poll_batch(consumer, POLL_SECONDS)
                alerts = [alert for message in messages if (alert := _alert_json(message)) is not None]
                if alerts and not loop.is_closed():
                    loop.call_soon_threadsafe(self._fan_out, alerts)
                errors = [message.error() for message in messages]
                if time.monotonic() - partitions_checked_at > PARTITION_CHECK_SECONDS:
                    errors.append(read_new_partitions(consumer, self._topic, POLL_SECONDS * 10))
                    partitions_checked_at = time.monotonic()
                lasting_errors = [error for error in errors if error is not None and error.code() not in TRANSIENT_ERRORS]
                if lasting_errors and not loop.is_closed():
                    loop.call_soon_threadsafe(self._fail, stop, lasting_errors[0].str())
                    return

    def _fail(self, stop: threading.Event, reason: str) -> None:
        """Tells the listeners that their consumer has ended, unless a later one runs by now."""
        if self._stop_consumer is stop:
            self._stop_consumer = None
            for listener in self._listeners:
                listener.failure = reason
            self._listeners.clear()

    def _fan_out(self, alerts: list[bytes]) -> None:
        for listener in self._listeners:
            listener.put(alerts)


def _alert_json(message: Message) -> bytes | None:
    """The JSON of a record's alert; None for a record that holds none, as a tombstone, which deletes one from the topic."""
    value = message.value()
    if message.error() is not None or value is None:
        return None
    try:
        return to_json(alert_object(orjson.loads(value), datetime.fromtimestamp(message.timestamp()[1] / 1_000, UTC)))
    except (ValueError, TypeError, AttributeError, OverflowError, OSError):
        return None  # not one of ours


async def server_sent_events(listener: Listener, is_closing: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The listener's alerts as server-sent events: a comment now and then while there are none, and at the end the reason."""
    yield b": listening\n\n"
    silent_seconds = 0
    while not is_closing():
        try:
            alert = await asyncio.wait_for(listener.alerts.get(), 1.0)
        except TimeoutError:
            if listener.failure:
                yield b"event: failed\ndata: " + orjson.dumps({"detail": f"Kafka: {listener.failure}"}) + b"\n\n"
                return
            silent_seconds += 1
            if silent_seconds % KEEP_ALIVE_SECONDS == 0:
                yield b": still here\n\n"
            continue
        silent_seconds = 0
        if is_closing():  # also when the right to read was withdrawn during the wait
            return
        yield b"event: alert\ndata: " + alert + b"\n\n"
        if listener.has_overflowed and listener.alerts.empty():
            yield b'event: dropped\ndata: {"detail": "too slow: alerts were left out; read them from the table"}\n\n'
            return
