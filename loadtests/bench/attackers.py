"""Clients that attack a gateway in one way until they are ended: `python -m loadtests.bench.attackers KIND PORT PATH [TOKEN]`."""

import asyncio
import base64
import gzip
import itertools
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

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
    """One attacker's means. path: of a vertical's events; each coroutine without underscore is a kind of attack."""

    def __init__(self, port: int, path: str, token: str) -> None:
        self.port, self.path, self.alerts = port, path, path.replace("/events", "/alerts")
        self.bearer = f"Authorization: Bearer {token}\r\n".encode()

    async def headers(self) -> None:
        """Fields of 60 KB without end."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self._head("POST", self.path))
            for number in itertools.count():
                writer.write(b"X-%d: %b\r\n" % (number, b"a" * 60_000))
                await writer.drain()

        await self._connect(64, send)

    async def idle(self) -> None:
        """Connections that send nothing, more than there may be."""
        await self._connect(1_500, lambda reader, writer: reader.read())

    async def half(self) -> None:
        """Heads that do not end."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self._head("POST", self.path))
            await reader.read()

        await self._connect(1_500, send)

    async def numbers(self) -> None:
        """8 KB that are 8 MB of zeros, each of which would be refused by itself."""
        await self._post(16, ZEROS, b"Content-Encoding: gzip")

    async def members(self) -> None:
        """A gzip body of very many empty members."""
        await self._post(16, EMPTY_MEMBERS, b"Content-Encoding: gzip")

    async def lists(self) -> None:
        """As many odd events as a request may have."""
        await self._post(16, EMPTY_LISTS)

    async def nested(self) -> None:
        """As many levels as an array may have, and as many such elements as a body."""
        await self._post(16, DEEP_EVENTS, b"Content-Encoding: gzip")

    async def lines(self) -> None:
        """Lines of NDJSON that are as large as an event may be, and nothing but levels."""
        await self._post(16, DEEP_LINES, b"Content-Encoding: gzip", content_type=b"application/x-ndjson")

    async def bodies(self) -> None:
        """Bodies of 8 MB whose end does not come."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            fields = (b"Content-Type: application/json", b"Content-Length: %d" % (8 * MEGABYTE))
            writer.write(self._head("POST", self.path, *fields) + self.bearer + b"\r\n")
            for _ in range(79):
                writer.write(b" " * 104_857)
                await writer.drain()
            await reader.read()

        await self._connect(100, send)

    async def pages(self) -> None:
        """The largest pages of alerts, of all times."""
        await self._get(32, self.alerts + "?limit=1000")

    async def cursors(self) -> None:
        """Pages of a version that the table never had."""
        await self._get(32, self.alerts + f"?cursor={UNKNOWN_CURSOR}")

    async def streams(self) -> None:
        """Streams of alerts, more than one client may open."""
        await self._get(100, self.alerts + "/stream")

    async def leaving(self) -> None:
        """Streams of alerts that are opened and left, on and on."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self._head("GET", self.alerts + "/stream") + self.bearer + b"\r\n")
            await reader.readuntil(b"listening")

        await self._connect(40, send)

    async def unread(self) -> None:
        """The largest pages of alerts, whose answers the client does not read."""

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(self._head("GET", self.alerts + "?limit=1000") + self.bearer + b"\r\n")
            await asyncio.sleep(60)

        await self._connect(200, send)

    async def queries(self) -> None:
        """Queries of 30 KB for alerts, without a token."""
        request = self._head("GET", self.alerts + "?limit=0" + "&a=1" * 7_500) + b"\r\n"
        await self._connect(100, self._repeat(request))

    async def nothing(self) -> None:
        """Requests for a path that does not exist, without a token."""
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
        """So many connections at once, for good; one that is cut off connects again."""

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


KINDS = (
    "headers", "idle", "half", "queries", "nothing", "numbers", "members", "lists", "nested", "lines", "bodies", "pages",
    "cursors", "unread", "streams", "leaving",
)  # fmt: skip


def main(kind: str, port: str, path: str, token: str = "") -> None:
    uvloop.run(getattr(Attack(int(port), path, token), kind)())


if __name__ == "__main__":
    main(*sys.argv[1:])
