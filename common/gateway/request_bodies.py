"""Request bodies: read within a limit, unpacked within a limit, and taken apart into the bytes of each event."""

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson

from common.contract.python_parser import names_are_apart
from common.gateway.byte_budget import Share
from common.gateway.refusals import Unreadable

Receive = Callable[[], Awaitable[Any]]
Event = bytes | dict[str, Any]  # its text, or the object it is

SPACE = " \t\n\r"
DECODER = json.JSONDecoder()
MOST_EVENTS = 100_000  # of a request: each is an object in memory, however short
MOST_REJECTED = 1_000  # that one answer explains: more would make the answer larger than what was sent
MOST_MEMBERS = 100     # of a gzip body
MOST_PARTS = 4 * MOST_EVENTS  # objects and arrays in a JSON array: all are read in one go, in which nobody else has a turn
MOST_NAMES = 1_000     # of an event that is handed on as an object: it is judged at once
VALUE_BYTES = 100      # that a value or an array of JSON takes once it is read, about
OBJECT_BYTES = 240     # that an object takes
EVENT_BYTES = 500      # that an event takes beside its text until Kafka has it, about
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some clients put it before any text; RFC 8259 lets a reader pass over it
BODY_SECONDS = 30.0  # a body that takes longer holds a connection that others wait for


async def read_body(receive: Receive, limit: int, share: Share) -> bytes:
    """The whole body; raises Unreadable once it is larger than `limit` bytes, whatever its header said, or too slow."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_body(receive, limit, share)
    except TimeoutError:
        raise Unreadable(408, f"the body was not there within {BODY_SECONDS:g} s") from None


async def _read_body(receive: Receive, limit: int, share: Share) -> bytes:
    message = await receive()
    body = message.get("body", b"")
    share.take(len(body))
    if not message.get("more_body"):
        return _within(body, limit)
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unreadable(400, "the connection ended before the body did")
        parts.append(message.get("body", b""))
        share.take(len(parts[-1]))
        size += len(parts[-1])
        if size > limit:
            break
    return _within(b"".join(parts), limit)


def read_events(body: bytes, encoding: str, is_ndjson: bool, limit: int, share: Share) -> tuple[bytes, list[Event]]:
    """The body without its Content-Encoding, and its events; raises Unreadable."""
    body = unpacked(body, encoding, limit, share)
    text = body.removeprefix(BYTE_ORDER_MARK)
    events = lines(text, share) if is_ndjson else elements(text, share)
    if len(events) > MOST_EVENTS:
        raise too_many()
    share.take(EVENT_BYTES * len(events))
    return body, events


def unpacked(body: bytes, encoding: str, limit: int, share: Share) -> bytes:
    """The body without its Content-Encoding; never more than `limit` bytes are unpacked."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise Unreadable(415, f"Content-Encoding {encoding[:20]!r} is not read: send gzip, or none")
    parts, size, members = [], 0, 0
    while body:  # a gzip file may have several members; the rest is copied for each
        members += 1
        if members > MOST_MEMBERS:
            raise Unreadable(413, f"the gzip body has more than {MOST_MEMBERS} members: send it as one")
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(body, limit + 1 - size))
        except zlib.error:
            raise Unreadable(400, "the body is not gzip, as Content-Encoding says it is") from None
        size += len(parts[-1])
        share.take(len(parts[-1]))
        if size > limit:
            raise too_large(limit)
        if not member.eof:
            raise Unreadable(400, "the gzip body ends too early")
        body = member.unused_data
    return b"".join(parts)


def lines(body: bytes, share: Share) -> list[Event]:
    """NDJSON: an event a line, empty lines left out."""
    if body.count(b"\n") > 2 * MOST_EVENTS:
        raise too_many()
    share.take(len(body))
    return [line for line in body.split(b"\n") if line and not line.isspace()]


def elements(body: bytes, share: Share) -> list[Event]:
    """The elements of a JSON array; of anything else, the text as it is.

    Objects where they are flat and writing them anew says what was written, else each element's own text.
    """
    if body.lstrip()[:1] != b"[":
        return [body]
    arrays, objects = body.count(b"["), body.count(b"{")
    share.take(VALUE_BYTES * (body.count(b",") + arrays) + OBJECT_BYTES * objects)
    if arrays + objects > MOST_PARTS:
        raise Unreadable(413, f"more than {MOST_PARTS:,} objects and arrays in one request: nothing of it was taken")
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _apart(body, share)
    if _are_plain(body, values, arrays, objects):
        return values
    if len(values) > MOST_EVENTS:
        raise too_many()
    if sum(type(value) is not dict for value in values) > MOST_REJECTED:
        raise Unreadable(413, f"more than {MOST_REJECTED:,} elements of the array are no objects: nothing of it was taken")
    return _apart(body, share)


def _apart(body: bytes, share: Share) -> list[Event]:
    """Each element's own text, also where one is JSON that cannot be read, as 1e400; else the body: malformed, as one event."""
    share.take(2 * len(body))
    try:
        return list(_slices(body.decode()))
    except (ValueError, IndexError, RecursionError):  # the last: levels beyond those of any event
        return [body]


def _are_plain(body: bytes, values: list[Any], arrays: int, objects: int) -> bool:
    """Whether these elements are objects without lists or objects in them, of not very many names, none of them twice."""
    if arrays > 1 or objects > len(values) or not all(type(value) is dict for value in values):
        return False
    # orjson keeps the last of two values of a name in silence.
    return max(map(len, values), default=0) <= MOST_NAMES and names_are_apart(body, sum(map(len, values)))


def _slices(text: str) -> Iterator[bytes]:
    """The elements of an array as they were written. Raises ValueError or IndexError where it is none."""
    at = _after_space(text, text.index("[") + 1)
    while text[at] != "]":
        _, end = DECODER.raw_decode(text, at)
        yield text[at:end].encode()
        at = _after_space(text, end)
        if text[at] == ",":
            at = _after_space(text, at + 1)
            if text[at] == "]":
                raise ValueError("a comma, and nothing after it")
        elif text[at] != "]":
            raise ValueError("no comma between two elements")
    if text[at + 1 :].strip(SPACE):
        raise ValueError("something after the array")


def _after_space(text: str, at: int) -> int:
    while text[at] in SPACE:
        at += 1
    return at


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise too_large(limit)
    return body


def too_many() -> Unreadable:
    return Unreadable(413, f"a request has at most {MOST_EVENTS:,} events: send fewer in one, nothing of it was taken")


def too_large(limit: int) -> Unreadable:
    return Unreadable(413, f"the body is larger than {limit:,} bytes: send fewer events in one request")
