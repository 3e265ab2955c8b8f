"""Speaks HTTP/1.1 with bounds on all that happens before the client is known: bytes, fields and time of a request's head.

uvicorn's protocol over httptools has none of these bounds.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
import uvloop
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from common.gateway.connections import Connections
from common.gateway.request_bodies import BODY_TIMEOUT_SECONDS
from common.gateway.tls_handshake import TlsHandshake

MAX_HEAD_BYTES = 32 * 1024  # of the request line and all header fields, trailers included
MAX_HEAD_FIELDS = 100
HEAD_TIMEOUT_SECONDS = 10.0  # for a whole head, from the begin of the connection, or once the answer before is written
MAX_PIPELINED_REQUESTS = 16  # that may wait behind the one under way
WRITE_TIMEOUT_SECONDS = 30.0  # in which a client has to read something of what waits for it
CLOSE_SECONDS = 2.0  # between a refusal and the end of its connection, in which the client may read it
UPGRADE_FIELDS = (b"upgrade", b"http2-settings")  # by which a client offers another protocol
# Extensions of a request's scope.
ADMIT_EXTENSION = "hybrid.admit"  # a function, to be called with the client once its request is allowed; raises LimitReached
TARGET_EXTENSION = "hybrid.target"  # the request's target, as it was sent


class HandshakeLoop(uvloop.Loop):
    """uvloop whose servers count connections before TLS begins, and break off a handshake that is not done in time."""

    async def create_server(self, protocol_factory: Any, *arguments: Any, **options: Any) -> Any:
        context = options.pop("ssl", None)
        if context is None:
            return await super().create_server(protocol_factory, *arguments, **options)
        return await super().create_server(
            lambda: TlsHandshake(self, protocol_factory(), context, HEAD_TIMEOUT_SECONDS), *arguments, **options
        )


class BoundedProtocol(HttpToolsProtocol):
    """One connection. connections: all that the server has open."""

    def __init__(self, *arguments: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connections = connections
        self._is_refused = False
        self._is_upgrade = False  # whether the message under way offers another protocol
        self._is_body_due = False  # whether more of the last message is to come
        self._running_cycle: RequestResponseCycle | None = None  # the request that is being answered; `cycle` is the newest
        self._unparsed_bytes = 0  # since the parser last reported a whole head, a part of a body, or a message's end
        self._field_count = self._head_bytes = 0  # of the message under way
        self._head_timer: asyncio.TimerHandle | None = None  # runs while the next head is awaited
        self._write_timer: asyncio.TimerHandle | None = None  # runs while the client does not read
        self._unwritten_bytes = 0  # at the last check

    def abort(self) -> None:
        """Cuts the connection off, without an answer."""
        self.transport.abort()

    def handshake_started(self, transport: asyncio.Transport) -> None:
        """Counts the connection before its TLS begins."""
        self.transport = transport
        address = transport.get_extra_info("peername")
        self._connections.add(self, address[0] if address else "")

    def handshake_ended(self) -> None:
        """Counts it no more: TLS is done, and `connection_made` counts it again, or it has failed."""
        self._connections.remove(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connections.add(self, self.client[0] if self.client else "")
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cycle = self._running_cycle  # uvicorn itself tells the newest only, which may wait behind it
        if cycle and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        self._connections.remove(self)
        for timer in (self._head_timer, self._write_timer, self.timeout_keep_alive_task):
            if timer:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._unparsed_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(400)
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._refuse(431)

    def _parse(self, data: bytes) -> None:
        """Hands data to the parser. An offer to go on in another protocol, as h2c, is passed over, as RFC 9110 allows.

        The parser takes what follows such a head for the other protocol, and so loses the request's body. Another parser gets the
        head without the offer. Raises HttpParserError.
        """
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if not self._is_upgrade or self._is_refused:
                    return
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._is_upgrade = False
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own

    def _head_without_upgrade(self) -> bytes:
        """The head of the message under way, as it is sent by who offers no other protocol."""
        fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] not in UPGRADE_FIELDS]
        request_line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        return b"".join((request_line, *fields, b"\r\n"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        if not self._is_refused:
            super().on_message_begin()
            self.scope["extensions"] = {ADMIT_EXTENSION: self._admit}  # type: ignore[dict-item]
            self._field_count = self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        if not self._is_refused:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_count += 1
        self._head_bytes += len(name) + len(value)
        if self._field_count > MAX_HEAD_FIELDS or self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431)
        elif not self._is_refused:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431)
        elif len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            self._is_refused = True  # the refusal is sent after the answers to the requests before it
        if self._is_refused:
            return
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._is_upgrade = True
            return
        if self._head_timer:
            self._head_timer.cancel()
        self._is_body_due = True
        self._connections.mark_busy(self)
        self.scope["extensions"][TARGET_EXTENSION] = self.url  # type: ignore[assignment]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        if self._is_refused or self._is_upgrade:
            return
        super().on_message_complete()
        self._is_body_due = False
        if self.cycle.response_complete:
            self._await_head()

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last and self._is_refused and not self.transport.is_closing():
            self._end(431)
        elif was_last:
            self.cycle.body = bytearray()  # what came of a body that the answer did not wait for
            self._connections.mark_idle(self)
            self._await_head(BODY_TIMEOUT_SECONDS if self._is_body_due else None)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    def _admit(self, client: str) -> None:
        self._connections.admit(self, client)

    def _await_head(self, seconds: float | None = None) -> None:
        """Gives the client HEAD_TIMEOUT_SECONDS, or these seconds, for a whole head."""
        if self._head_timer:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(seconds or HEAD_TIMEOUT_SECONDS, self._check_head)

    def _check_head(self) -> None:
        """Ends the connection, as no whole head came in time; while the client still reads the answer before, it has longer."""
        if self.transport.get_write_buffer_size():
            if self._write_timer is None:  # there is one for what is beyond the transport's high-water mark
                self._watch_writing()
            self._await_head()
        elif self._unparsed_bytes and not self.transport.is_closing():
            self._refuse(408)
        else:
            self.transport.abort()

    def _watch_writing(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()
        self._unwritten_bytes = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(WRITE_TIMEOUT_SECONDS, self._check_writing)

    def _check_writing(self) -> None:
        """Cuts the connection off if the client has read nothing since the last check."""
        self._write_timer = None
        unwritten_bytes = self.transport.get_write_buffer_size()
        if unwritten_bytes >= self._unwritten_bytes > 0:
            self.transport.abort()
        elif unwritten_bytes:
            self._watch_writing()

    def _refuse(self, status: int) -> None:
        """Answers with a refusal and ends the connection; what still comes is not read."""
        if self._is_refused:
            return
        self._is_refused = True
        self._end(status)

    def _end(self, status: int) -> None:
        text = f'{{"detail":"{_REFUSAL_DETAILS[status]}"}}'.encode()
        head = (b"content-type: application/json\r\n", b"content-length: %d\r\n" % len(text), b"connection: close\r\n\r\n")
        if self.cycle is None or self.cycle.response_complete:  # else it would stand within the answer that is being written
            self.transport.write(b"".join((STATUS_LINE[status], *head, text)))
        self.transport.close()
        self.loop.call_later(CLOSE_SECONDS, self.transport.abort)


_REFUSAL_DETAILS = {
    400: "this is no HTTP request",
    408: f"the head of the request was not there within {HEAD_TIMEOUT_SECONDS:g} s",
    int(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE): (
        f"a request's head has at most {MAX_HEAD_BYTES:,} bytes and {MAX_HEAD_FIELDS} fields, "
        f"and at most {MAX_PIPELINED_REQUESTS} requests wait"
    ),
}
