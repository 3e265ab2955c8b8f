"""Sends answers in parts, and takes in what is still to come of a request's body once its answer is written."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from common.gateway.request_bodies import Receive

Send = Callable[[Any], Awaitable[None]]

PART_BYTES = 64 * 1024  # of an answer, that are written at a time
MAX_DISCARDED_BYTES = 64 * 1024 * 1024  # of a body, that are read though it is refused


class RequestBody:
    """The messages of a request's body. is_whole: whether no more of it is to come."""

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes]) -> None:
        self._receive = receive
        self._awaits_continue = b"expect" in headers  # to receive is then to ask the client for its body
        self.is_whole = False

    async def receive(self) -> Any:
        """The next message, as ASGI has it."""
        message = await self._receive()
        self.is_whole = not message.get("more_body", False)
        return message

    async def read_available(self) -> None:
        """Takes in what has come already, so that `is_whole` holds for this moment."""
        if not self._awaits_continue:
            await self.discard(0)

    async def discard(self, seconds: float) -> None:
        """Takes in what comes within these seconds, up to MAX_DISCARDED_BYTES, and keeps nothing of it."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_whole and size < MAX_DISCARDED_BYTES:
                    size += len((await self.receive()).get("body", b""))


async def send_in_parts(send: Send, body: bytes) -> None:
    """Sends the body of an answer; returns once the client has read nearly all of it.

    uvicorn's `send` waits before it writes, and not after: an answer in one piece is in our memory until the client reads it, and
    the sender knows nothing of it.
    """
    if len(body) > PART_BYTES:
        await send_parts(send, body)
        body = b""
    await send({"type": "http.response.body", "body": body})


async def send_parts(send: Send, body: bytes) -> None:
    """Sends the body and leaves the answer open."""
    for start in range(0, len(body), PART_BYTES):
        await send({"type": "http.response.body", "body": body[start : start + PART_BYTES], "more_body": True})
