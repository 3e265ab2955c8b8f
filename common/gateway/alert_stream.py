"""Alerts as they arrive, for any number of listeners: one consumer a vertical, a bounded queue a listener."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import orjson
from confluent_kafka import Consumer, Message

from common.gateway.alert_json import as_json, shown
from common.kafka.connection import Connection
from common.kafka.reader import PASSING, arrived, from_ends, read_new_partitions

WAITING = 1_000        # alerts that a listener may be behind
LOOK_SECONDS = 0.2
STILL_HERE_SECONDS = 15
PARTITIONS_SECONDS = 10.0  # between looks for partitions that the topic was given since


class Listener:
    """A queue of alerts' JSON. dropped: it was full; failed: why the topic is not read any more. After either nothing comes."""

    def __init__(self) -> None:
        self.alerts: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self.dropped = False
        self.failed: str | None = None

    def put(self, alerts: list[bytes]) -> None:
        for alert in alerts:
            if self.dropped or self.alerts.full():
                self.dropped = True
                return
            self.alerts.put_nowait(alert)


class AlertStream:
    """The alerts of one topic from now on. Its consumer runs while somebody listens."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self._connection, self._topic = connection, topic
        self._listeners: set[Listener] = set()
        self._consuming: threading.Event | None = None  # set to end it
        self._starting = asyncio.Lock()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        """A listener that misses nothing from now on; raises BrokerError."""
        listener = Listener()
        async with self._starting:
            if self._consuming is None:
                await self._start()
            self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._consuming:
                self._consuming.set()
                self._consuming = None

    async def _start(self) -> None:
        consumer = await asyncio.to_thread(from_ends, self._connection, self._topic, group="gateway", wait_ms=500)
        ending, loop = threading.Event(), asyncio.get_running_loop()
        work = threading.Thread(target=self._consume, args=(consumer, ending, loop), name=f"listen-{self._topic}", daemon=True)
        work.start()
        self._consuming = ending

    def _consume(self, consumer: Consumer, ending: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        looked = time.monotonic()
        with consumer:
            while not ending.is_set():
                messages = arrived(consumer, LOOK_SECONDS)
                alerts = [alert for message in messages if (alert := _alert(message)) is not None]
                if alerts and not loop.is_closed():
                    loop.call_soon_threadsafe(self._fan_out, alerts)
                errors = [message.error() for message in messages]
                if time.monotonic() - looked > PARTITIONS_SECONDS:
                    errors.append(read_new_partitions(consumer, self._topic, LOOK_SECONDS * 10))
                    looked = time.monotonic()
                lasting = next((error for error in errors if error is not None and error.code() not in PASSING), None)
                if lasting is not None and not loop.is_closed():
                    loop.call_soon_threadsafe(self._fail, ending, lasting.str())
                    return

    def _fail(self, ending: threading.Event, why: str) -> None:
        if self._consuming is ending:
            self._consuming = None
            for listener in self._listeners:
                listener.failed = why
            self._listeners.clear()

    def _fan_out(self, alerts: list[bytes]) -> None:
        for listener in self._listeners:
            listener.put(alerts)


def _alert(message: Message) -> bytes | None:
    """The alert of a record as it is shown; None for what is none: a tombstone, which takes one out of a compacted topic."""
    value = message.value()
    if message.error() is not None or value is None:
        return None
    try:
        return as_json(shown(orjson.loads(value), datetime.fromtimestamp(message.timestamp()[1] / 1_000, UTC)))
    except (ValueError, TypeError, AttributeError, OverflowError, OSError):
        return None  # not one of ours


async def server_sent(listener: Listener, closing: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The listener's alerts as server-sent events, a comment while there are none, and a last word when they end."""
    yield b": listening\n\n"
    silent = 0
    while not closing():
        try:
            alert = await asyncio.wait_for(listener.alerts.get(), 1.0)
        except TimeoutError:
            if listener.failed:
                yield b"event: failed\ndata: " + orjson.dumps({"detail": f"Kafka: {listener.failed}"}) + b"\n\n"
                return
            silent += 1
            if silent % STILL_HERE_SECONDS == 0:
                yield b": still here\n\n"
            continue
        silent = 0
        if closing():  # also when the right to read was withdrawn while it waited
            return
        yield b"event: alert\ndata: " + alert + b"\n\n"
        if listener.dropped and listener.alerts.empty():
            yield b'event: dropped\ndata: {"detail": "too slow: alerts were left out; read them from the table"}\n\n'
            return
