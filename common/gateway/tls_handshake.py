"""TLS before HTTP: a connection counts from its begin, and costs nothing until its client has said something."""

import asyncio
import ssl
from typing import Any, Protocol


class Counted(Protocol):
    """The protocol of HTTP, which is counted among the connections before TLS, too."""

    def came(self, transport: asyncio.Transport) -> None: ...

    def went(self) -> None: ...

    def connection_made(self, transport: asyncio.Transport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...


class Handshake(asyncio.Protocol):
    """Of one connection; when it is done `http` takes over. One that is not done in `seconds` is broken off. Needs uvloop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, http: Counted, context: ssl.SSLContext, seconds: float) -> None:
        self._loop, self._http, self._context, self._seconds = loop, http, context, seconds
        self._transport: asyncio.Transport
        self._shaking: asyncio.Task[None] | None = None
        self._early: list[bytes] = []  # what came with the last word of the handshake
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._timer = self._loop.call_later(self._seconds, transport.abort)
        self._http.came(transport)

    def data_received(self, data: bytes) -> None:
        if self._shaking:
            self._early.append(data)
            return
        self._transport.pause_reading()
        self._shaking = self._loop.create_task(self._shake_hands())
        # TLS is to hear it once it is connected, which the task's first step schedules; what follows is read after that.
        self._loop.call_soon(self._loop.call_soon, self._hand_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._http.went()

    async def _shake_hands(self) -> None:
        try:
            if self._transport.is_closing():
                return
            tls = await self._loop.start_tls(self._transport, self, self._context, server_side=True)
            if tls is None or tls.is_closing():
                return
        except OSError:  # no TLS, or none that we speak; or it went
            self._transport.abort()
            return
        finally:
            self._timer.cancel()
            self._http.went()
        tls.set_protocol(self._http)  # type: ignore[arg-type]
        self._http.connection_made(tls)
        for data in self._early:
            self._http.data_received(data)

    def _hand_on(self, data: bytes) -> None:
        left = memoryview(data)
        while left and not self._transport.is_closing():
            protocol: Any = self._transport.get_protocol()  # asyncio.BufferedProtocol's methods
            buffer = memoryview(protocol.get_buffer(len(left)))
            size = min(len(buffer), len(left))
            buffer[:size] = left[:size]
            protocol.buffer_updated(size)
            left = left[size:]
