"""HTTP/1.1 with bounds on all that happens before it is known who asks: bytes, fields and time of a request's head.

uvicorn's protocol over httptools has none of them.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import uvloop
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from common.gateway.connections import Connections
from common.gateway.tls_handshake import Handshake

HEAD_BYTES = 32 * 1024  # of the request line and all header fields, trailers included
HEAD_FIELDS = 100
HEAD_SECONDS = 10.0     # for a whole head, from the connection's begin or the end of the answer before
PIPELINED = 16          # requests that may wait behind the one under way
WRITE_SECONDS = 30.0    # in which a client has to take something of what waits for it
LAST_WORD_SECONDS = 2.0
ADMIT = "hybrid.admit"  # among a scope's extensions: to be called with the client once its request is allowed; raises NoPlace
TARGET = "hybrid.target"  # among them as well: the request's target, as it came


class Loop(uvloop.Loop):
    """uvloop, where connections are counted before TLS, and a handshake that is not finished in time is broken off."""

    async def create_server(self, protocol_factory: Any, *given: Any, **options: Any) -> Any:
        context = options.pop("ssl", None)
        if context is None:
            return await super().create_server(protocol_factory, *given, **options)
        return await super().create_server(
            lambda: Handshake(self, protocol_factory(), context, HEAD_SECONDS), *given, **options)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `among` are those that the server holds."""

    def __init__(self, *given: Any, among: Connections, **options: Any) -> None:
        super().__init__(*given, **options)
        self._among = among
        self._refused = False
        self._unparsed = 0            # bytes since the parser last reported a whole head, a part of a body, or a message's end
        self._fields = self._head = 0  # of the message under way
        self._waiting: asyncio.TimerHandle | None = None  # for the next head
        self._writing: asyncio.TimerHandle | None = None  # for the client to read
        self._unwritten = 0           # bytes, when it was last looked

    def abort(self) -> None:
        """Cut it off, without a word."""
        self.transport.abort()

    def came(self, transport: asyncio.Transport) -> None:
        """A connection whose TLS has not begun."""
        self.transport = transport
        address = transport.get_extra_info("peername")
        self._among.add(self, address[0] if address else "")

    def went(self) -> None:
        """It has no TLS, or has begun."""
        self._among.remove(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._among.add(self, self.client[0] if self.client else "")
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._among.remove(self)
        for timer in (self._waiting, self._writing, self.timeout_keep_alive_task):
            if timer:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES:
            self._refuse(431)

    def on_message_begin(self) -> None:
        if not self._refused:
            super().on_message_begin()
            self.scope["extensions"] = {ADMIT: self._admit}  # type: ignore[dict-item]
            self._fields = self._head = 0

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        if not self._refused:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._head += len(name) + len(value)
        if self._fields > HEAD_FIELDS or self._head > HEAD_BYTES:
            self._refuse(431)
        elif not self._refused:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        if self._head > HEAD_BYTES:
            self._refuse(431)
        elif len(self.pipeline) >= PIPELINED:
            self._refused = True  # it is told so after the answers of those before it
        if self._refused:
            return
        if self._waiting:
            self._waiting.cancel()
        self._among.is_busy(self)
        self.scope["extensions"][TARGET] = self.url  # type: ignore[assignment]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last and self._refused and not self.transport.is_closing():
            self._end(431)
        elif was_last:
            self.cycle.body = bytearray()  # of a body that was not waited for
            self._among.is_idle(self)
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unwritten = self.transport.get_write_buffer_size()
        self._writing = self.loop.call_later(WRITE_SECONDS, self._look_whether_written)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing:
            self._writing.cancel()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def _admit(self, client: str) -> None:
        self._among.admit(self, client)

    def _wait_for_head(self) -> None:
        if self._waiting:
            self._waiting.cancel()
        self._unwritten = self.transport.get_write_buffer_size()
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._look_whether_head_came)

    def _look_whether_head_came(self) -> None:
        if 0 < self.transport.get_write_buffer_size() < self._unwritten:
            self._wait_for_head()  # it still reads the answer before
        elif self._unparsed and not self.transport.is_closing():
            self._refuse(408)
        else:
            self.transport.abort()

    def _look_whether_written(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= self._unwritten:
            self.transport.abort()
            return
        self._unwritten = left
        self._writing = self.loop.call_later(WRITE_SECONDS, self._look_whether_written)

    def _refuse(self, status: int) -> None:
        """A last word, and the end; what still comes is not looked at."""
        if self._refused:
            return
        self._refused = True
        self._end(status)

    def _end(self, status: int) -> None:
        text = f'{{"detail":"{_REFUSALS[status]}"}}'.encode()
        head = (b"content-type: application/json\r\n", b"content-length: %d\r\n" % len(text), b"connection: close\r\n\r\n")
        if self.cycle is None or self.cycle.response_complete:  # else it would stand amid the answer that is under way
            self.transport.write(b"".join((STATUS_LINE[status], *head, text)))
        self.transport.close()
        self.loop.call_later(LAST_WORD_SECONDS, self.transport.abort)


_REFUSALS = {
    400: "this is no HTTP request",
    408: f"the head of the request was not there within {HEAD_SECONDS:g} s",
    int(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE): (
        f"a request's head has at most {HEAD_BYTES:,} bytes and {HEAD_FIELDS} fields, and at most {PIPELINED} requests wait"),
}
