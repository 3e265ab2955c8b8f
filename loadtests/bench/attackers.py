"""Clients that attack a gateway in one way until they are ended: `python -m loadtests.bench.attackers KIND PORT PATH [TOKEN]`."""

import asyncio
import base64
import gzip
import itertools
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import uvloop

from common.embedded.ports import HOST

MEGABYTE = 1024 * 1024
RECONNECT_SECONDS = 0.2
ZEROS = gzip.compress(b"[" + b"0," * (4 * MEGABYTE - 2) + b"0]", 9)
EMPTY_MEMBERS = gzip.compress(b"") * 120_000
DEEP_EVENT = b'{"a":[%b%b]}' % (b"[" * 1_000, b"]" * 1_000)
DEEP_EVENTS = gzip.compress(b"[" + b",".join([DEEP_EVENT] * 4_100) + b"]")
DEEP_LINES = gzip.compress(b"\n".join([b'{"a":[%b]}' % b",".join([b'{"":' * 900 + b"1" + b"}" * 900] * 197)] * 9))
UNKNOWN_CURSOR = base64.urlsafe_b64encode(b'[1000000000,"2020-01-01T00:00:00Z","a"]').decode().rstrip("=")
EMPTY_LISTS = b"[" + b"[]," * 99_000 + b"[]]"

Exchange = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]
"""What an attacker does over one connection."""


class Attack:
    """The kinds of attack on a gateway, as coroutines that run until they are cancelled. path: of a vertical's events."""

    def __init__(self, port: int, path: str, token: str) -> None:
        self.port, self.path, self.alerts = port, path, path.replace("/events", "/alerts")
        self.bearer = f"Authorization: Bearer {token}\r\n".encode()

    async def endless_heads(self) -> None:
        """Sends header fields of 60 KB without end."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self._head("POST", self.path))
            for number in itertools.count():
                writer.write(b"X-%d: %b\r\n" % (number, b"a" * 60_000))
                await writer.drain()

        await self._connect(64, send)

    async def idle_connections(self) -> None:
        """Opens more connections than are allowed, and sends nothing over them."""
        await self._connect(1_500, lambda reader, writer: reader.read())

    async def unfinished_heads(self) -> None:
        """Sends heads without their end and waits, as slowloris does."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self._head("POST", self.path))
            await reader.read()

        await self._connect(1_500, send)

    async def compressed_zeros(self) -> None:
        """Posts 8 KB that decompress to 8 MB of zeros, each of which the gateway would refuse as an event of its own."""
        await self._post(16, ZEROS, b"Content-Encoding: gzip")

    async def empty_gzip_members(self) -> None:
        """Posts a gzip body of very many empty members."""
        await self._post(16, EMPTY_MEMBERS, b"Content-Encoding: gzip")

    async def odd_events(self) -> None:
        """Posts as many odd events (empty arrays) as a request may have."""
        await self._post(16, EMPTY_LISTS)

    async def nested_arrays(self) -> None:
        """Posts arrays as deep as is allowed, as many as fit into a body."""
        await self._post(16, DEEP_EVENTS, b"Content-Encoding: gzip")

    async def nested_lines(self) -> None:
        """Posts lines of NDJSON that are as large as an event may be and consist of nested objects alone."""
        await self._post(16, DEEP_LINES, b"Content-Encoding: gzip", content_type=b"application/x-ndjson")

    async def unfinished_bodies(self) -> None:
        """Posts bodies of 8 MB whose end does not come."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            fields = (b"Content-Type: application/json", b"Content-Length: %d" % (8 * MEGABYTE))
            writer.write(self._head("POST", self.path, *fields) + self.bearer + b"\r\n")
            for _ in range(79):
                writer.write(b" " * 104_857)
                await writer.drain()
            await reader.read()

        await self._connect(100, send)

    async def largest_pages(self) -> None:
        """Gets the largest pages of alerts, of all times."""
        await self._get(32, self.alerts + "?limit=1000")

    async def unknown_cursors(self) -> None:
        """Gets pages of alerts by cursors with a version that the table never had."""
        await self._get(32, self.alerts + f"?cursor={UNKNOWN_CURSOR}")

    async def open_streams(self) -> None:
        """Opens more streams of alerts than one client may open."""
        await self._get(100, self.alerts + "/stream")

    async def abandoned_streams(self) -> None:
        """Opens streams of alerts and closes the connection at once, again and again."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self._head("GET", self.alerts + "/stream") + self.bearer + b"\r\n")
            await reader.readuntil(b"listening")

        await self._connect(40, send)

    async def unread_answers(self) -> None:
        """Requests the largest pages of alerts and does not read the answers."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(self._head("GET", self.alerts + "?limit=1000") + self.bearer + b"\r\n")
            await asyncio.sleep(60)

        await self._connect(200, send)

    async def long_queries(self) -> None:
        """Sends queries of 30 KB for alerts, without a token."""
        request = self._head("GET", self.alerts + "?limit=0" + "&a=1" * 7_500) + b"\r\n"
        await self._connect(100, self._repeat(request))

    async def unknown_paths(self) -> None:
        """Requests a path that does not exist, without a token."""
        await self._connect(100, self._repeat(self._head("GET", "/v1/nothing") + b"\r\n"))

    def _head(self, method: str, path: str, *fields: bytes) -> bytes:
        return b"".join((f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode(), *(field + b"\r\n" for field in fields)))

    async def _post(self, connections: int, body: bytes, *fields: bytes, content_type: bytes = b"application/json") -> None:
        fields = (b"Content-Type: " + content_type, b"Content-Length: %d" % len(body), *fields)
        request = self._head("POST", self.path, *fields) + self.bearer + b"\r\n" + body
        await self._connect(connections, self._repeat(request))

    async def _get(self, connections: int, path: str) -> None:
        await self._connect(connections, self._repeat(self._head("GET", path) + self.bearer + b"\r\n"))

    @staticmethod
    def _repeat(request: bytes) -> Exchange:
        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                writer.write(request)
                await reader.readuntil(b"\r\n\r\n")  # an answer's body stands before the next answer's head
                await asyncio.sleep(0.02)

        return send

    async def _connect(self, connections: int, exchange: Exchange) -> None:
        """Keeps that many connections open and runs `exchange` over each; one that is cut off connects again."""

        async def reconnect() -> None:
            while True:
                with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    reader, writer = await asyncio.open_connection(HOST, self.port, limit=4 * MEGABYTE)
                    try:
                        await exchange(reader, writer)
                    finally:
                        writer.transport.abort()
                await asyncio.sleep(RECONNECT_SECONDS)

        await asyncio.gather(*(reconnect() for _ in range(connections)))


KINDS: dict[str, Callable[[Attack], Coroutine[Any, Any, None]]] = {
    "headers": Attack.endless_heads,
    "idle": Attack.idle_connections,
    "half": Attack.unfinished_heads,
    "queries": Attack.long_queries,
    "nothing": Attack.unknown_paths,
    "numbers": Attack.compressed_zeros,
    "members": Attack.empty_gzip_members,
    "lists": Attack.odd_events,
    "nested": Attack.nested_arrays,
    "lines": Attack.nested_lines,
    "bodies": Attack.unfinished_bodies,
    "pages": Attack.largest_pages,
    "cursors": Attack.unknown_cursors,
    "unread": Attack.unread_answers,
    "streams": Attack.open_streams,
    "leaving": Attack.abandoned_streams,
}
"""By the name that users give (`hybrid bench gateway-attacks --only`), what the attackers do."""


def main(kind: str, port: str, path: str, token: str = "") -> None:
    uvloop.run(KINDS[kind](Attack(int(port), path, token)))


if __name__ == "__main__":
    main(*sys.argv[1:])
