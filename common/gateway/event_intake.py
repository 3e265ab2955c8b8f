"""`POST /v1/{vertical}/events`: judged by the contract, sent, and answered once Kafka has acknowledged.

A plain ASGI application: routing and validation by a framework would cost as much as the rest.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson

from common.contract.python_parser import Accepted, PlainContract, Rejected
from common.gateway.authorization import Access, Refused
from common.gateway.byte_budget import Budget, Share
from common.gateway.delivery import Away, Delivery, Failure, Full, NeverFits
from common.gateway.idempotency import LONGEST_KEY, Answers, Reused, UnderWay
from common.gateway.json_nesting import TOO_NESTED, is_too_nested
from common.gateway.limits import PATIENCE_SECONDS, Rates
from common.gateway.refusals import Unreadable
from common.gateway.request_bodies import MOST_REJECTED, Event, Receive, read_body, read_events, too_large
from common.gateway.whole_numbers import WholeNumbers
from common.kafka.producers import REFUSALS
from common.kafka.topics import topic_names
from common.vertical import Vertical

LOG = logging.getLogger(__name__)

AT_ONCE_BYTES = 50_000   # of events judged before others have their turn
LEAST_BYTES = 500        # that an event counts as then
LARGE_EVENT = 16 * 1024  # bytes of an event that is judged by a thread
RATE_BYTES = 1_000       # for each of which a request counts as an event
LARGEST_EVENT = 900_000  # bytes: a topic takes records of 1 MB unless told otherwise
TOO_LARGE = f"an event has at most {LARGEST_EVENT:,} bytes"
TOO_MANY = "more events than this client may send"
SHOWN, LONGEST_DETAIL = 200, 2_000  # characters of a refused event's id, and of what is said of it
LARGE = 256 * 1024       # bytes of a body that is read by a thread
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
AGAIN_SECONDS = {429: b"1", 503: b"2"}


class Answer(NamedTuple):
    """What goes back: HTTP's status, a JSON body, and seconds after which to try again."""

    status: int
    body: bytes
    retry_after: bytes = b""


class Judged:
    """A request's events: those to be sent, and those refused with their place and reason."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []

    def add(self, index: int, verdict: Accepted | Rejected) -> None:
        if isinstance(verdict, Rejected):
            self.reject(index, *verdict)
        elif len(verdict.value) > LARGEST_EVENT:
            self.reject(index, verdict.event_id, "too_large", TOO_LARGE)
        else:
            self.ids.append(verdict.event_id)
            self.messages.append({"key": verdict.entity.encode(), "value": verdict.value})

    def reject(self, index: int | None, event_id: str | None, reason: str, detail: str) -> None:
        shown = event_id and event_id[:SHOWN]
        self.rejected.append({"index": index, "id": shown, "reason": reason, "detail": detail[:LONGEST_DETAIL]})


class Events:
    """The intake of one vertical."""

    def __init__(self, vertical: Vertical, contract: PlainContract, delivery: Delivery, access: Access, rates: Rates,
                 answers: Answers, budget: Budget, largest: int, turn: asyncio.Lock) -> None:
        self._name, self._topic = vertical.name, topic_names(vertical).events
        self._whole_numbers = WholeNumbers(vertical.event_schema)
        self._contract, self._delivery, self._access, self._rates = contract, delivery, access, rates
        self._answers, self._budget, self._largest, self._turn = answers, budget, largest, turn

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Any) -> None:
        try:
            answer = await self._answer(scope, receive)
        except (Unreadable, Refused) as problem:
            if problem.status == 401:
                await asyncio.sleep(PATIENCE_SECONDS)
            answer = _problem(problem.status, str(problem))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
        if answer.retry_after:
            headers.append((b"retry-after", answer.retry_after))
        if answer.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if answer.status == 408:
            headers.append((b"connection", b"close"))  # the rest of the body may come yet, and be taken for a request
        if answer.status == 405:
            headers.append((b"allow", b"POST"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        if scope["method"] != "POST":
            return _problem(405, "events are sent by POST")
        client = self._access.allow(scope, headers, self._name, "write")
        wait = self._rates.wait(client)
        if wait:
            await asyncio.sleep(PATIENCE_SECONDS)
            return _problem(429, TOO_MANY, b"%d" % wait)
        is_ndjson = _is_ndjson(headers)
        if int(headers.get(b"content-length", b"0")) > self._largest:
            raise too_large(self._largest)
        encoding, key = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower(), headers.get(b"idempotency-key")
        with self._budget.share(client) as share:
            try:
                body = await read_body(receive, self._largest, share)
                body, events = await self._read(body, encoding, is_ndjson, client, share)
            except Unreadable as problem:
                if problem.status == 413:
                    self._rates.empty(client)  # it cost as much as one that is taken
                raise
            return await (self._take(events) if key is None else self._take_once(key, body, events, client))

    async def _read(self, body: bytes, encoding: str, is_ndjson: bool, client: str, share: Share) -> tuple[bytes, list[Event]]:
        """The events, which are charged. A large body is read by a thread, one at a time, as others are not to wait so long."""
        read = partial(read_events, body, encoding, is_ndjson, self._largest, share)
        if len(body) <= LARGE and not encoding:
            found = read()
        else:
            async with self._turn:
                if self._rates.wait(client):  # those before it may have been this client's, too
                    raise Unreadable(429, TOO_MANY)
                found = await asyncio.to_thread(read)
        text, events = found
        self._rates.take(client, max(1, len(events), len(text) // RATE_BYTES))
        return found

    async def _take_once(self, name: bytes, body: bytes, events: list[Event], client: str) -> Answer:
        if not 0 < len(name) <= LONGEST_KEY:
            return _problem(400, f"Idempotency-Key has 1 to {LONGEST_KEY} characters")
        key = (self._name, name)
        try:
            earlier = self._answers.begin(client, key, body)
        except Reused:
            return _problem(422, "this Idempotency-Key came before with another body: give each request a key of its own")
        except UnderWay:
            return _problem(409, "the request with this Idempotency-Key is under way: ask again", b"1")
        if earlier:
            return Answer(*earlier)
        kept = None
        try:
            answer = await self._take(events)
            kept = (answer.status, answer.body) if answer.status in (202, 422) else None
            return answer
        finally:
            self._answers.end(client, key, kept)

    async def _take(self, events: list[Event]) -> Answer:
        judged = await self._judged(events)
        if not judged.messages:
            return _told(judged)
        try:
            sent = self._delivery.send(self._topic, judged.messages)
        except NeverFits as problem:
            raise Unreadable(413, f"{problem}: send fewer events in one request, nothing of it was taken") from None
        except Full:
            return _problem(429, "the buffer is full, nothing of this request was taken: send it again")
        except Away:
            return _problem(503, "Kafka does not answer, nothing of this request was taken: send it again")
        await sent.done
        return _told(judged, sent.failures)

    async def _judged(self, events: list[Event]) -> Judged:
        judged, latest, size = Judged(), self._contract.latest(), 0
        for index, event in enumerate(events):
            if isinstance(event, bytes) and LARGE_EVENT < len(event) <= LARGEST_EVENT:
                async with self._turn:
                    judged.add(index, await asyncio.to_thread(self._verdict, event, latest))
            else:
                judged.add(index, self._verdict(event, latest))
                size += max(LEAST_BYTES, len(event))
            if len(judged.rejected) > MOST_REJECTED:
                raise Unreadable(
                    413, f"more than {MOST_REJECTED:,} events of this request break the contract, the last seen at {index} "
                    f"({judged.rejected[-1]['reason']}): nothing of it was taken")
            if size >= AT_ONCE_BYTES:
                size = 0
                await asyncio.sleep(0)
        return judged

    def _verdict(self, event: Event, latest: datetime) -> Accepted | Rejected:
        """Whatever one event may be, it is that event that is refused, and not the request."""
        if isinstance(event, bytes) and len(event) > LARGEST_EVENT:
            return Rejected(None, "too_large", TOO_LARGE)  # to read it would take many times as much
        if isinstance(event, bytes) and is_too_nested(event):
            return Rejected(None, "malformed_json", TOO_NESTED)
        try:
            verdict = self._judge(event, latest)
            if isinstance(verdict, Rejected) and verdict.reason == "wrong_type":
                whole = self._whole_numbers.of(event)
                return verdict if whole is None else self._judge(whole, latest)
            return verdict
        except Exception as problem:
            LOG.info("an event of %s could not be judged: %s", self._name, type(problem).__name__)
            return Rejected(None, "malformed_json", "it cannot be judged: nested too deep, or of values that no field has")

    def _judge(self, event: Event, latest: datetime) -> Accepted | Rejected:
        return self._contract.judge(event, latest) if isinstance(event, bytes) else self._contract.judge_object(event, latest)


def _told(judged: Judged, failures: list[Failure] | None = None) -> Answer:
    """202: all are acknowledged. 422: some were refused, the others are acknowledged. 503: some have no acknowledgement."""
    ids, lost = _sorted_out(judged, failures) if failures else (judged.ids, [])
    told: dict[str, Any] = {"accepted": len(ids), "ids": ids}
    if judged.rejected:
        told["rejected"] = judged.rejected
    if lost:
        told["detail"] = "Kafka did not acknowledge all of these events: send those again whose ids are in not_acknowledged"
        told["not_acknowledged"] = lost
    status = 503 if lost else 422 if judged.rejected else 202
    return Answer(status, orjson.dumps(told), AGAIN_SECONDS.get(status, b""))


def _sorted_out(judged: Judged, failures: list[Failure]) -> tuple[list[str], list[str]]:
    """Ids of what was acknowledged and of what was not; what the broker will never take is rejected."""
    failed, never = Counter(value for value, _ in failures), {value for value, error in failures if error.code() in REFUSALS}
    kept: list[str] = []
    lost: list[str] = []
    for event_id, message in zip(judged.ids, judged.messages, strict=True):
        value = message["value"]
        if not failed[value]:
            kept.append(event_id)
            continue
        failed[value] -= 1
        if value in never:
            judged.reject(None, event_id, "too_large", "Kafka refuses a record of this size")
        else:
            lost.append(event_id)
    return kept, lost


def _is_ndjson(headers: Mapping[bytes, bytes]) -> bool:
    """From the content type; one that a browser sends unasked is none of ours, so no page can post in its user's name."""
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if kind in NDJSON:
        return True
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return False
    raise Unreadable(415, f"Content-Type {kind[:60]!r} is not read: send application/json or application/x-ndjson")


def _problem(status: int, detail: str, retry_after: bytes = b"") -> Answer:
    return Answer(status, orjson.dumps({"detail": detail}), retry_after or AGAIN_SECONDS.get(status, b""))
