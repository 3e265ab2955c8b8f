"""HTTP load from one process: connections that are kept, each sending its next request once it is due and the last answered."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import uvloop

from common.errors import UserError

HEAD = b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n"


class NotAccepted(UserError):
    """An answer other than 202; the message holds it."""


@dataclass(frozen=True)
class Answered:
    """seconds: until the last answer; latencies: of each request, in ms, from when it was due."""

    seconds: float
    latencies: list[float]


def post_all(
    host: str, port: int, path: str, bodies: Sequence[bytes], connections: int, content_type: str, per_second: float = math.inf,
    token: str | None = None,
) -> Answered:
    """Send each body once over so many connections, `per_second` in all. Raises NotAccepted at the first that is not taken."""
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (path.encode(), host.encode(), content_type.encode(), bearer.encode())
    requests = [HEAD % (*head, len(body)) + body for body in bodies]
    latencies: list[float] = []

    async def all_of_them() -> float:
        started = time.perf_counter()
        paced = per_second < math.inf
        due = iter([(request, started + number / per_second if paced else None) for number, request in enumerate(requests)])
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(_send(host, port, due, latencies))
        return time.perf_counter() - started

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return Answered(runner.run(all_of_them()), latencies)


async def _send(host: str, port: int, requests: Iterator[tuple[bytes, float | None]], latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for request, due in requests:
            began = time.perf_counter() if due is None else due
            while due is not None and (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(head))
            if not head.startswith(b"HTTP/1.1 202"):
                raise NotAccepted(f"{head.splitlines()[0].decode()}: {body[:300].decode(errors='replace')}")
            latencies.append((time.perf_counter() - began) * 1000)
    finally:
        writer.close()


def _length(head: bytes) -> int:
    [value] = [line[15:] for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    return int(value)
