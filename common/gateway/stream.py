"""Alerts as they arrive, for any number of listeners: one consumer a vertical, a bounded queue a listener."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from confluent_kafka import Consumer

from common.ingestion.connection import Connection
from common.ingestion.reader import arrived, from_ends

WAITING = 1_000        # alerts that a listener may be behind
LOOK_SECONDS = 0.2
STILL_HERE_SECONDS = 15


class Listener:
    """A queue of alerts' JSON; `dropped` once it was full, after which nothing more comes."""

    def __init__(self) -> None:
        self.alerts: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self.dropped = False

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
        with consumer:
            while not ending.is_set():
                # A tombstone takes an alert out of a compacted topic: it is none itself.
                alerts = [value for message in arrived(consumer, LOOK_SECONDS)
                          if message.error() is None and (value := message.value()) is not None]
                if alerts and not loop.is_closed():
                    loop.call_soon_threadsafe(self._fan_out, alerts)

    def _fan_out(self, alerts: list[bytes]) -> None:
        for listener in self._listeners:
            listener.put(alerts)


async def server_sent(listener: Listener, closing: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The listener's alerts as server-sent events, a comment while there are none, and a last word to one that is too slow."""
    yield b": listening\n\n"
    silent = 0
    while not closing():
        try:
            alert = await asyncio.wait_for(listener.alerts.get(), 1.0)
        except TimeoutError:
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
