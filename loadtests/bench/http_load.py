"""Sends HTTP requests from one process; on each connection one goes out when it is due and the one before it is answered."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import uvloop

from common.errors import UserError

HEAD = b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n"


class NotAccepted(UserError):
    """The server gave another answer than 202; the message holds it."""


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and as what. token: a bearer token; None for a server that asks for none."""

    host: str
    port: int
    path: str
    content_type: str = "application/json"
    token: str | None = None


@dataclass(frozen=True)
class LoadTimes:
    """seconds: until the last answer; latencies: of each request, in ms, from when it was due."""

    seconds: float
    latencies: list[float]


def post_all(endpoint: Endpoint, bodies: Sequence[bytes], connections: int, per_second: float = math.inf) -> LoadTimes:
    """Send each body once over so many connections, `per_second` in all. Raises NotAccepted at another answer than 202."""
    bearer = f"Authorization: Bearer {endpoint.token}\r\n" if endpoint.token else ""
    head = tuple(text.encode() for text in (endpoint.path, endpoint.host, endpoint.content_type, bearer))
    requests = [HEAD % (*head, len(body)) + body for body in bodies]
    latencies: list[float] = []

    async def send_all() -> float:
        started_at = time.perf_counter()
        is_paced = per_second < math.inf
        due_times = [started_at + number / per_second if is_paced else None for number in range(len(requests))]
        timed_requests = zip(requests, due_times, strict=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(_send(endpoint, timed_requests, latencies))
        return time.perf_counter() - started_at

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return LoadTimes(runner.run(send_all()), latencies)


async def _send(endpoint: Endpoint, requests: Iterator[tuple[bytes, float | None]], latencies: list[float]) -> None:
    """Send requests over one connection until there are none. requests: each with its due time; None: send it at once."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        for request, due_time in requests:
            started_at = time.perf_counter() if due_time is None else due_time
            while due_time is not None and (seconds_early := due_time - time.perf_counter()) > 0:
                await asyncio.sleep(seconds_early)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_content_length(head))
            if not head.startswith(b"HTTP/1.1 202"):
                raise NotAccepted(f"{head.splitlines()[0].decode()}: {body[:300].decode(errors='replace')}")
            latencies.append((time.perf_counter() - started_at) * 1000)
    finally:
        writer.close()


def _content_length(head: bytes) -> int:
    [value] = [line[15:] for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    return int(value)
