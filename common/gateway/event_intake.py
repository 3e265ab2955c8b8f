"""Handles `POST /v1/{vertical}/events`: checks events against the contract, sends them, answers once Kafka has acknowledged.

It is a plain ASGI application: routing and validation by a framework would cost as much as the rest.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson

from common.contract.python_parser import InvalidEvent, PythonContract, ValidEvent
from common.gateway.asgi_bodies import RequestBody, send_in_parts, send_parts
from common.gateway.authorization import Access, AccessRefused
from common.gateway.byte_budget import BudgetShare, ByteBudget
from common.gateway.delivery import AsyncProducer, BatchTooLarge, BrokerUnavailable, BufferFull, Failure
from common.gateway.idempotency import MAX_KEY_CHARACTERS, AnswerCache, KeyReused, RequestInProgress
from common.gateway.json_nesting import TOO_NESTED, is_too_nested
from common.gateway.limits import REFUSAL_DELAY_SECONDS, RateLimiter
from common.gateway.refusals import BodyRefused
from common.gateway.request_bodies import (
    BODY_TIMEOUT_SECONDS,
    MAX_REJECTED,
    RawEvent,
    Receive,
    body_too_large,
    read_body,
    read_events,
)
from common.gateway.whole_numbers import IntegerFields
from common.kafka.producers import REFUSAL_CODES
from common.kafka.topics import topic_names
from common.vertical import Vertical

LOG = logging.getLogger(__name__)

TURN_BYTES = 50_000  # of events that are validated before other requests have their turn
MIN_EVENT_BYTES = 500  # that an event counts as then
LARGE_EVENT_BYTES = 16 * 1024  # a larger event is validated by a thread
LARGE_BODY_BYTES = 256 * 1024  # a larger body is read by a thread
BYTES_PER_EVENT = 1_000  # of a body that count as one event of its client's rate
MAX_EVENT_BYTES = 900_000  # a topic takes records of 1 MB by default
EVENT_TOO_LARGE = f"an event has at most {MAX_EVENT_BYTES:,} bytes"
TOO_MANY_EVENTS = "more events than this client may send"
MAX_ID_CHARACTERS, MAX_DETAIL_CHARACTERS = 200, 2_000  # of a refused event, in the answer
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
RETRY_AFTER_SECONDS = {429: b"1", 503: b"2"}


class Answer(NamedTuple):
    """The answer to a request: HTTP's status, a JSON body, and the seconds after which to try again."""

    status: int
    body: bytes
    retry_after: bytes = b""


class ValidatedEvents:
    """A request's events: those to be sent, and those rejected, with their index and reason."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []

    def add(self, index: int, verdict: ValidEvent | InvalidEvent) -> None:
        """Adds the verdict on the event at `index` of the request."""
        if isinstance(verdict, InvalidEvent):
            self.reject(index, *verdict)
        elif len(verdict.value) > MAX_EVENT_BYTES:
            self.reject(index, verdict.event_id, "too_large", EVENT_TOO_LARGE)
        else:
            self.ids.append(verdict.event_id)
            self.messages.append({"key": verdict.entity.encode(), "value": verdict.value})

    def reject(self, index: int | None, event_id: str | None, reason: str, detail: str) -> None:
        """Adds a rejected event; index: None where it is not known any more."""
        short_id = event_id and event_id[:MAX_ID_CHARACTERS]
        self.rejected.append({"index": index, "id": short_id, "reason": reason, "detail": detail[:MAX_DETAIL_CHARACTERS]})


@dataclass(frozen=True)
class IntakeResources:
    """What the intakes of all verticals share."""

    producer: AsyncProducer
    access: Access
    rates: RateLimiter  # of each client's events
    answers: AnswerCache  # to requests that came with an idempotency key
    budget: ByteBudget  # of the bytes that requests under way hold
    max_body_bytes: int  # of one request, packed and unpacked
    thread_turn: asyncio.Lock  # held while a thread reads a large body or validates a large event: only one does at a time


class EventIntake:
    """The intake of one vertical, as an ASGI application."""

    def __init__(self, vertical: Vertical, contract: PythonContract, resources: IntakeResources) -> None:
        self._name, self._topic = vertical.name, topic_names(vertical).events
        self._integer_fields = IntegerFields(vertical.event_schema)
        self._contract, self._resources = contract, resources

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Any) -> None:
        headers = dict(scope["headers"])
        body = RequestBody(receive, headers)
        with ExitStack() as memory:  # of the request, until its answer is read: that names its events, and may be as large
            try:
                answer = await self._answer(scope, headers, body.receive, memory)
            except (BodyRefused, AccessRefused) as problem:
                if problem.status == 401:
                    await asyncio.sleep(REFUSAL_DELAY_SECONDS)
                answer = _problem_answer(problem.status, str(problem))
            if not body.is_whole:
                await body.read_available()
            is_body_due = not body.is_whole
            await send({"type": "http.response.start", "status": answer.status, "headers": _header_fields(answer, is_body_due)})
            if not is_body_due:
                await send_in_parts(send, answer.body)
                return
            await send_parts(send, answer.body)
        if answer.status != 408:  # to end the connection while the client still sends would cut off the answer
            await body.discard(BODY_TIMEOUT_SECONDS)
        await send({"type": "http.response.body"})

    async def _answer(
        self, scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes], receive: Receive, memory: ExitStack
    ) -> Answer:
        """The answer; `memory` gets the request's share of the bytes that all requests under way may hold."""
        resources = self._resources
        client = resources.access.admit(scope, headers, self._name, "write")
        wait_seconds = resources.rates.wait_seconds(client)
        if wait_seconds:
            await asyncio.sleep(REFUSAL_DELAY_SECONDS)
            return _problem_answer(429, TOO_MANY_EVENTS, b"%d" % wait_seconds)
        if scope["method"] != "POST":
            resources.rates.charge(client, 1)
            return _problem_answer(405, "events are sent by POST")
        is_ndjson = _is_ndjson(headers)
        if int(headers.get(b"content-length", b"0")) > resources.max_body_bytes:
            raise body_too_large(resources.max_body_bytes)
        encoding, key = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower(), headers.get(b"idempotency-key")
        budget_share = memory.enter_context(resources.budget.open_share(client))
        try:
            body = await read_body(receive, resources.max_body_bytes, budget_share)
            body, events = await self._read(body, encoding, is_ndjson, client, budget_share)
        except BodyRefused as problem:  # it cost as much as one that is accepted
            if problem.status == 413:
                resources.rates.charge_one_second(client)
            else:
                resources.rates.charge(client, max(1, budget_share.charged_bytes // BYTES_PER_EVENT))
            raise
        return await (self._accept(events) if key is None else self._accept_once(key, body, events, client))

    async def _read(
        self, body: bytes, encoding: str, is_ndjson: bool, client: str, budget_share: BudgetShare
    ) -> tuple[bytes, list[RawEvent]]:
        """The unpacked body and its events, for which the client's rate is charged.

        A large body is read by a thread, and only one at a time, so that other requests do not wait for it.
        """
        rates = self._resources.rates
        read_body_events = partial(read_events, body, encoding, is_ndjson, self._resources.max_body_bytes, budget_share)
        if len(body) <= LARGE_BODY_BYTES and not encoding:
            text, events = read_body_events()
        else:
            async with self._resources.thread_turn:
                if rates.wait_seconds(client):  # the bodies before it may have been this client's, too
                    raise AccessRefused(429, TOO_MANY_EVENTS)
                text, events = await asyncio.to_thread(read_body_events)
        rates.charge(client, max(1, len(events), len(text) // BYTES_PER_EVENT))
        return text, events

    async def _accept_once(self, idempotency_key: bytes, body: bytes, events: list[RawEvent], client: str) -> Answer:
        """Accepts events unless the same request was answered before: then that answer is given again."""
        answers = self._resources.answers
        if not 0 < len(idempotency_key) <= MAX_KEY_CHARACTERS:
            return _problem_answer(400, f"Idempotency-Key has 1 to {MAX_KEY_CHARACTERS} characters")
        key = (self._name, idempotency_key)
        try:
            earlier_answer = answers.begin(client, key, body)
        except KeyReused:
            return _problem_answer(422, "this Idempotency-Key came before with another body: give each request a key of its own")
        except RequestInProgress:
            return _problem_answer(409, "the request with this Idempotency-Key is under way: ask again", b"1")
        if earlier_answer:
            return Answer(*earlier_answer)
        final_answer = None
        try:
            answer = await self._accept(events)
            final_answer = (answer.status, answer.body) if answer.status in (202, 422) else None
            return answer
        finally:
            answers.end(client, key, final_answer)

    async def _accept(self, events: list[RawEvent]) -> Answer:
        """Judges events, sends the valid ones, and waits until Kafka has acknowledged them."""
        validated_events = await self._validate_events(events)
        if not validated_events.messages:
            return _result_answer(validated_events)
        try:
            delivery = self._resources.producer.send(self._topic, validated_events.messages)
        except BatchTooLarge as problem:
            raise BodyRefused(413, f"{problem}: send fewer events in one request, nothing of it was taken") from None
        except BufferFull:
            return _problem_answer(429, "the buffer is full, nothing of this request was taken: send it again")
        except BrokerUnavailable:
            return _problem_answer(503, "Kafka does not answer, nothing of this request was taken: send it again")
        await delivery.done
        return _result_answer(validated_events, delivery.failures)

    async def _validate_events(self, events: list[RawEvent]) -> ValidatedEvents:
        verdicts, latest, size = ValidatedEvents(), self._contract.latest_event_time(), 0
        for index, event in enumerate(events):
            if isinstance(event, bytes) and LARGE_EVENT_BYTES < len(event) <= MAX_EVENT_BYTES:
                async with self._resources.thread_turn:
                    verdicts.add(index, await asyncio.to_thread(self._validate_event, event, latest))
            else:
                verdicts.add(index, self._validate_event(event, latest))
                size += max(MIN_EVENT_BYTES, len(event))
            if len(verdicts.rejected) > MAX_REJECTED:
                raise BodyRefused(
                    413,
                    f"more than {MAX_REJECTED:,} events of this request break the contract, the last seen at {index} "
                    f"({verdicts.rejected[-1]['reason']}): nothing of it was taken",
                )
            if size >= TURN_BYTES:
                size = 0
                await asyncio.sleep(0)
        return verdicts

    def _validate_event(self, event: RawEvent, latest: datetime) -> ValidEvent | InvalidEvent:
        """The contract's verdict. Whatever an event holds, it is that event that is refused, and not its request."""
        if isinstance(event, bytes) and len(event) > MAX_EVENT_BYTES:
            return InvalidEvent(None, "too_large", EVENT_TOO_LARGE)  # to read it would take many times its size
        if isinstance(event, bytes) and is_too_nested(event):
            return InvalidEvent(None, "malformed_json", TOO_NESTED)
        try:
            verdict = self._apply_contract(event, latest)
            if isinstance(verdict, InvalidEvent) and verdict.reason == "wrong_type":
                converted_event = self._integer_fields.convert(event)
                return verdict if converted_event is None else self._apply_contract(converted_event, latest)
            return verdict
        except Exception as problem:
            LOG.info("an event of %s could not be validated: %s", self._name, type(problem).__name__)
            return InvalidEvent(None, "malformed_json", "it cannot be read: nested too deep, or of values that no field has")

    def _apply_contract(self, event: RawEvent, latest: datetime) -> ValidEvent | InvalidEvent:
        contract = self._contract
        return contract.validate(event, latest) if isinstance(event, bytes) else contract.validate_object(event, latest)


def _header_fields(answer: Answer, is_body_due: bool) -> list[tuple[bytes, bytes]]:
    """The answer's header. is_body_due: whether the client still sends, which it is asked not to."""
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
    if answer.retry_after:
        fields.append((b"retry-after", answer.retry_after))
    if answer.status == 401:
        fields.append((b"www-authenticate", b"Bearer"))
    if answer.status == 405:
        fields.append((b"allow", b"POST"))
    if is_body_due:
        fields.append((b"connection", b"close"))
    return fields


def _result_answer(events: ValidatedEvents, failures: list[Failure] | None = None) -> Answer:
    """202: all are acknowledged. 422: some were refused, the others are acknowledged. 503: some have no acknowledgement."""
    acknowledged_ids, lost_ids = _split_by_failure(events, failures) if failures else (events.ids, [])
    result: dict[str, Any] = {"accepted": len(acknowledged_ids), "ids": acknowledged_ids}
    if events.rejected:
        result["rejected"] = events.rejected
    if lost_ids:
        result["detail"] = "Kafka did not acknowledge all of these events: send those again whose ids are in not_acknowledged"
        result["not_acknowledged"] = lost_ids
    status = 503 if lost_ids else 422 if events.rejected else 202
    return Answer(status, orjson.dumps(result), RETRY_AFTER_SECONDS.get(status, b""))


def _split_by_failure(events: ValidatedEvents, failures: list[Failure]) -> tuple[list[str], list[str]]:
    """Ids of the events that were acknowledged, and of those that were not; what the broker will never take is rejected."""
    failed_values = Counter(value for value, _ in failures)
    refused_values = {value for value, error in failures if error.code() in REFUSAL_CODES}
    acknowledged_ids: list[str] = []
    lost_ids: list[str] = []
    for event_id, message in zip(events.ids, events.messages, strict=True):
        value = message["value"]
        if not failed_values[value]:
            acknowledged_ids.append(event_id)
            continue
        failed_values[value] -= 1
        if value in refused_values:
            events.reject(None, event_id, "too_large", "Kafka refuses a record of this size")
        else:
            lost_ids.append(event_id)
    return acknowledged_ids, lost_ids


def _is_ndjson(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the content type is NDJSON's; raises BodyRefused for what is not JSON either.

    A content type that a browser sends without a preflight request is refused, so that no page can post in its user's name.
    """
    media_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if media_type in NDJSON_TYPES:
        return True
    if media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json")):
        return False
    raise BodyRefused(415, f"Content-Type {media_type[:60]!r} is not read: send application/json or application/x-ndjson")


def _problem_answer(status: int, detail: str, retry_after: bytes = b"") -> Answer:
    return Answer(status, orjson.dumps({"detail": detail}), retry_after or RETRY_AFTER_SECONDS.get(status, b""))
