"""Clients that mean no good, each kind until it is ended: `python -m loadtests.bench.attackers KIND PORT PATH [TOKEN]`."""

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
AGAIN_SECONDS = 0.2  # after which one that was cut off comes again
NUMBERS = gzip.compress(b"[" + b"0," * (4 * MEGABYTE - 2) + b"0]", 9)
MEMBERS = gzip.compress(b"") * 120_000
DEEP = b'{"a":[%b%b]}' % (b"[" * 1_000, b"]" * 1_000)
NESTED = gzip.compress(b"[" + b",".join([DEEP] * 4_100) + b"]")
LINES = gzip.compress(b"\n".join([b'{"a":[%b]}' % b",".join([b'{"":' * 900 + b"1" + b"}" * 900] * 197)] * 9))
NEVER = base64.urlsafe_b64encode(b'[1000000000,"2020-01-01T00:00:00Z","a"]').decode().rstrip("=")
LISTS = b"[" + b"[]," * 99_000 + b"[]]"


class Attack:
    """Where, and as whom."""

    def __init__(self, port: int, path: str, token: str) -> None:
        self.port, self.path, self.alerts = port, path, path.replace("/events", "/alerts")
        self.bearer = f"Authorization: Bearer {token}\r\n".encode()

    def head(self, method: str, path: str, *fields: bytes) -> bytes:
        return b"".join((f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode(), *(field + b"\r\n" for field in fields)))

    async def headers(self) -> None:
        """Fields of 60 KB without end."""
        async def send(writer: asyncio.StreamWriter) -> None:
            writer.write(self.head("POST", self.path))
            for number in itertools.count():
                writer.write(b"X-%d: %b\r\n" % (number, b"a" * 60_000))
                await writer.drain()

        await self._many(64, lambda reader, writer: send(writer))

    async def idle(self) -> None:
        """Connections that send nothing, more than there may be."""
        await self._many(1_500, lambda reader, writer: reader.read())

    async def half(self) -> None:
        """Heads that do not end."""
        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self.head("POST", self.path))
            await reader.read()

        await self._many(1_500, send)

    async def numbers(self) -> None:
        """8 KB that are 8 MB of zeros, each of which would be refused by itself."""
        await self._posts(16, NUMBERS, b"Content-Encoding: gzip")

    async def members(self) -> None:
        """A gzip body of very many empty members."""
        await self._posts(16, MEMBERS, b"Content-Encoding: gzip")

    async def lists(self) -> None:
        """As many odd events as a request may have."""
        await self._posts(16, LISTS)

    async def nested(self) -> None:
        """As many levels as an array may have, and as many such elements as a body."""
        await self._posts(16, NESTED, b"Content-Encoding: gzip")

    async def lines(self) -> None:
        """Lines of NDJSON that are as large as an event may be, and nothing but levels."""
        await self._posts(16, LINES, b"Content-Encoding: gzip", kind=b"application/x-ndjson")

    async def bodies(self) -> None:
        """Bodies of 8 MB of which the end does not come."""
        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            fields = (b"Content-Type: application/json", b"Content-Length: %d" % (8 * MEGABYTE))
            writer.write(self.head("POST", self.path, *fields) + self.bearer + b"\r\n")
            for _ in range(79):
                writer.write(b" " * 104_857)
                await writer.drain()
            await reader.read()

        await self._many(100, send)

    async def pages(self) -> None:
        """The largest pages of alerts, of all times."""
        await self._asks(32, self.alerts + "?limit=1000")

    async def cursors(self) -> None:
        """Pages of a version of the table that never was."""
        await self._asks(32, self.alerts + f"?cursor={NEVER}")

    async def streams(self) -> None:
        """Streams of alerts, more than one may open."""
        await self._asks(100, self.alerts + "/stream")

    async def leaving(self) -> None:
        """Streams of alerts that are opened and left, on and on."""
        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self.head("GET", self.alerts + "/stream") + self.bearer + b"\r\n")
            await reader.readuntil(b"listening")

        await self._many(40, send)

    async def unread(self) -> None:
        """The largest pages of alerts, of whose answers nothing is read."""
        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(self.head("GET", self.alerts + "?limit=1000") + self.bearer + b"\r\n")
            await asyncio.sleep(60)

        await self._many(200, send)

    async def queries(self) -> None:
        """Questions of 30 KB about alerts, from nobody."""
        asked = self.head("GET", self.alerts + "?limit=0" + "&a=1" * 7_500) + b"\r\n"
        await self._many(100, self._repeat(asked))

    async def nothing(self) -> None:
        """Questions, from nobody, for what is not there."""
        await self._many(100, self._repeat(self.head("GET", "/v1/nothing") + b"\r\n"))

    async def _posts(self, connections: int, body: bytes, *fields: bytes, kind: bytes = b"application/json") -> None:
        fields = (b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *fields)
        await self._many(connections, self._repeat(self.head("POST", self.path, *fields) + self.bearer + b"\r\n" + body))

    async def _asks(self, connections: int, path: str) -> None:
        await self._many(connections, self._repeat(self.head("GET", path) + self.bearer + b"\r\n"))

    @staticmethod
    def _repeat(request: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                writer.write(request)
                await reader.readuntil(b"\r\n\r\n")  # what is left of an answer stands before the next one's head
                await asyncio.sleep(0.02)

        return send

    async def _many(
        self, connections: int, work: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]
    ) -> None:
        """So many at once; one that is cut off comes again."""
        async def one() -> None:
            while True:
                with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    reader, writer = await asyncio.open_connection(HOST, self.port, limit=4 * MEGABYTE)
                    try:
                        await work(reader, writer)
                    finally:
                        writer.transport.abort()
                await asyncio.sleep(AGAIN_SECONDS)

        await asyncio.gather(*(one() for _ in range(connections)))


KINDS = (
    "headers", "idle", "half", "queries", "nothing", "numbers", "members", "lists", "nested", "lines", "bodies", "pages",
    "cursors", "unread", "streams", "leaving",
)  # fmt: skip


def main(kind: str, port: str, path: str, token: str = "") -> None:
    uvloop.run(getattr(Attack(int(port), path, token), kind)())


if __name__ == "__main__":
    main(*sys.argv[1:])
