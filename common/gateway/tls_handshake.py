"""Does TLS before HTTP: a connection is counted from its begin, and costs nothing until its client has sent something."""

import asyncio
import ssl
from typing import Any, Protocol


class HttpProtocol(Protocol):
    """The protocol of HTTP, which counts its connection while TLS is not done, too."""

    def handshake_started(self, transport: asyncio.Transport) -> None: ...

    def handshake_ended(self) -> None: ...

    def connection_made(self, transport: asyncio.Transport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...


class TlsHandshake(asyncio.Protocol):
    """The handshake of one connection, which `http` takes over then. It is broken off after `seconds`. Needs uvloop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, http: HttpProtocol, context: ssl.SSLContext, seconds: float) -> None:
        self._loop, self._http, self._context, self._seconds = loop, http, context, seconds
        self._transport: asyncio.Transport
        self._handshake: asyncio.Task[None] | None = None
        self._early_data: list[bytes] = []  # that came with the handshake's last message
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._timer = self._loop.call_later(self._seconds, transport.abort)
        self._http.handshake_started(transport)

    def data_received(self, data: bytes) -> None:
        if self._handshake:
            self._early_data.append(data)
            return
        self._transport.pause_reading()
        self._handshake = self._loop.create_task(self._shake_hands())
        # TLS must get these bytes once it is connected, which the task's first step schedules; the next are read after that.
        self._loop.call_soon(self._loop.call_soon, self._pass_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._http.handshake_ended()

    async def _shake_hands(self) -> None:
        try:
            if self._transport.is_closing():
                return
            tls = await self._loop.start_tls(self._transport, self, self._context, server_side=True)
            if tls is None or tls.is_closing():
                return
        except OSError:  # no TLS, or none that we speak; or the connection ended
            self._transport.abort()
            return
        finally:
            self._timer.cancel()
            self._http.handshake_ended()
        tls.set_protocol(self._http)  # type: ignore[arg-type]
        self._http.connection_made(tls)
        for data in self._early_data:
            self._http.data_received(data)

    def _pass_on(self, data: bytes) -> None:
        """Gives TLS the bytes that came before it was connected."""
        remaining_data = memoryview(data)
        while remaining_data and not self._transport.is_closing():
            protocol: Any = self._transport.get_protocol()  # asyncio.BufferedProtocol's methods
            buffer = memoryview(protocol.get_buffer(len(remaining_data)))
            size = min(len(buffer), len(remaining_data))
            buffer[:size] = remaining_data[:size]
            protocol.buffer_updated(size)
            remaining_data = remaining_data[size:]
