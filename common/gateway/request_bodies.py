"""Reads request bodies, unpacks them, both within a limit, and splits them into events."""

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import orjson

from common.contract.python_parser import has_distinct_names
from common.gateway.byte_budget import BudgetShare
from common.gateway.refusals import BodyRefused

Receive = Callable[[], Awaitable[Any]]
RawEvent = bytes | dict[str, Any]  # its text, or the object it is

JSON_WHITESPACE = " \t\n\r"
JSON_DECODER = json.JSONDecoder()
MAX_EVENTS = 100_000  # of a request: each is an object in memory, however short
MAX_REJECTED = 1_000  # that one answer explains: more would make the answer larger than the request
MAX_GZIP_MEMBERS = 100  # of a body
UNPACK_BYTES = 256 * 1024  # that are unpacked, and packed ones read, at a time
MAX_DEFLATE_RATIO = 1_032  # of unpacked bytes to packed ones
MAX_PARTS = 4 * MAX_EVENTS  # objects and arrays in a JSON array: all are read in one go, in which no other request has a turn
MAX_NAMES = 1_000  # of an event that is passed on as an object: it is validated in one go
VALUE_BYTES = 100  # that a value or an array of JSON takes once it is read, about
OBJECT_BYTES = 240  # that an object takes
EVENT_BYTES = 500  # that an event takes beside its text until Kafka has it, about
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some clients put it before any text; RFC 8259 lets a reader pass over it
BODY_TIMEOUT_SECONDS = 30.0  # a body that takes longer holds a connection that others wait for


async def read_body(receive: Receive, limit: int, budget_share: BudgetShare) -> bytes:
    """The whole body. Raises BodyRefused once it is larger than `limit` bytes, whatever its header said, or too slow."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            return await _read_body(receive, limit, budget_share)
    except TimeoutError:
        raise BodyRefused(408, f"the body was not there within {BODY_TIMEOUT_SECONDS:g} s") from None


async def _read_body(receive: Receive, limit: int, budget_share: BudgetShare) -> bytes:
    parts, size, has_more = [], 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":  # also as the first message: it is no empty body
            raise BodyRefused(400, "the connection ended before the body did")
        parts.append(message.get("body", b""))
        budget_share.charge(len(parts[-1]))
        size += len(parts[-1])
        if size > limit:
            raise body_too_large(limit)
        has_more = message.get("more_body", False)
    return b"".join(parts)


def read_events(
    body: bytes, encoding: str, is_ndjson: bool, limit: int, budget_share: BudgetShare
) -> tuple[bytes, list[RawEvent]]:
    """The body without its Content-Encoding, and its events; raises BodyRefused."""
    body = unpack(body, encoding, limit, budget_share)
    text = body.removeprefix(BYTE_ORDER_MARK)
    events = split_lines(text, budget_share) if is_ndjson else split_array(text, budget_share)
    if len(events) > MAX_EVENTS:
        raise too_many_events()
    budget_share.charge(EVENT_BYTES * len(events))
    return body, events


def unpack(body: bytes, encoding: str, limit: int, budget_share: BudgetShare) -> bytes:
    """The body without its Content-Encoding, of which no more than `limit` bytes are ever unpacked; raises BodyRefused."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise BodyRefused(415, f"Content-Encoding {encoding[:20]!r} is not read: send gzip, or none")
    parts, size, members = [], 0, 0
    member, position = None, 0
    while position < len(body):
        if member is None or member.eof:  # a gzip file may have several members
            member, members = zlib.decompressobj(wbits=31), members + 1
            if members > MAX_GZIP_MEMBERS:
                raise BodyRefused(413, f"the gzip body has more than {MAX_GZIP_MEMBERS} members: send it as one")
        piece = body[position : position + UNPACK_BYTES]
        try:
            parts.append(member.decompress(piece, UNPACK_BYTES))
        except zlib.error:
            with suppress(BodyRefused):
                budget_share.charge(min(UNPACK_BYTES, MAX_DEFLATE_RATIO * len(piece)))  # as much may have been unpacked before it
            raise BodyRefused(400, "the body is not gzip, as Content-Encoding says it is") from None
        size += len(parts[-1])
        budget_share.charge(len(parts[-1]))
        if size > limit:
            raise body_too_large(limit)
        position += len(piece) - len(member.unused_data if member.eof else member.unconsumed_tail)
    if member is not None and not member.eof:
        raise BodyRefused(400, "the gzip body ends too early")
    return b"".join(parts)


def split_lines(body: bytes, budget_share: BudgetShare) -> list[RawEvent]:
    """The lines of NDJSON, each an event, without the empty ones."""
    if body.count(b"\n") > 2 * MAX_EVENTS:
        raise too_many_events()
    budget_share.charge(len(body))
    return [line for line in body.split(b"\n") if line and not line.isspace()]


def split_array(body: bytes, budget_share: BudgetShare) -> list[RawEvent]:
    """The elements of a JSON array; a body that is no array is one event, as it is.

    They are objects where all are flat and no name stands twice in one of them, else each element's own text. Raises
    BodyRefused for more of them than a request may have.
    """
    if body.lstrip()[:1] != b"[":
        return [body]
    arrays, objects = body.count(b"["), body.count(b"{")
    budget_share.charge(VALUE_BYTES * (body.count(b",") + arrays) + OBJECT_BYTES * objects)
    if arrays + objects > MAX_PARTS:
        raise BodyRefused(413, f"more than {MAX_PARTS:,} objects and arrays in one request: nothing of it was taken")
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _split_texts(body, budget_share)
    if _are_flat(body, values, arrays, objects):
        return values
    if len(values) > MAX_EVENTS:
        raise too_many_events()
    if sum(type(value) is not dict for value in values) > MAX_REJECTED:
        raise BodyRefused(413, f"more than {MAX_REJECTED:,} elements of the array are no objects: nothing of it was taken")
    return _split_texts(body, budget_share)


def _split_texts(body: bytes, budget_share: BudgetShare) -> list[RawEvent]:
    """Each element's own text, also where a value cannot be held, as 1e400. A malformed array is one event: the body."""
    budget_share.charge(2 * len(body))
    try:
        return list(_element_texts(body.decode()))
    except (ValueError, IndexError, RecursionError):  # the last: levels beyond those of any event
        return [body]


def _are_flat(body: bytes, values: list[Any], arrays: int, objects: int) -> bool:
    """Whether these elements are objects without lists or objects in them, of MAX_NAMES names at most, none of them twice."""
    if arrays > 1 or objects > len(values) or not all(type(value) is dict for value in values):
        return False
    # Of two values of one name orjson keeps the last, without an error.
    return max(map(len, values), default=0) <= MAX_NAMES and has_distinct_names(body, sum(map(len, values)))


def _element_texts(text: str) -> Iterator[bytes]:
    """The elements of an array as they were written. Raises ValueError or IndexError where the text is no array."""
    position = _skip_whitespace(text, text.index("[") + 1)
    while text[position] != "]":
        _, end = JSON_DECODER.raw_decode(text, position)
        yield text[position:end].encode()
        position = _skip_whitespace(text, end)
        if text[position] == ",":
            position = _skip_whitespace(text, position + 1)
            if text[position] == "]":
                raise ValueError("a comma, and nothing after it")
        elif text[position] != "]":
            raise ValueError("no comma between two elements")
    if text[position + 1 :].strip(JSON_WHITESPACE):
        raise ValueError("something after the array")


def _skip_whitespace(text: str, position: int) -> int:
    while text[position] in JSON_WHITESPACE:
        position += 1
    return position


def too_many_events() -> BodyRefused:
    return BodyRefused(413, f"a request has at most {MAX_EVENTS:,} events: send fewer in one, nothing of it was taken")


def body_too_large(limit: int) -> BodyRefused:
    return BodyRefused(413, f"the body is larger than {limit:,} bytes: send fewer events in one request")
