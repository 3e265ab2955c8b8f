"""Routes of the stored alerts, `GET /v1/{vertical}/alerts`, and of those that arrive, `GET /v1/{vertical}/alerts/stream`."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from common.alerts import Severity
from common.gateway.alert_pages import PageReader
from common.gateway.alert_stream import AlertStream, server_sent_events
from common.gateway.asgi_bodies import send_in_parts
from common.gateway.authorization import Access
from common.gateway.limits import REFUSAL_DELAY_SECONDS, ConcurrencyLimiter, LimitReached
from common.gateway.openapi import INTAKE_RESPONSES, PROBLEM_SCHEMA, json_response
from common.gateway.stored_alerts import (
    AlertFilter,
    AlertsUnreadable,
    Cursor,
    CursorExpired,
    InvalidCursor,
    NoAlertsTable,
    to_utc,
)
from common.kafka.connection import BrokerError, Connection
from common.kafka.topics import topic_names
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace

LOG = logging.getLogger(__name__)

MAX_STREAMS_PER_CLIENT = 20
NO_TABLE = (
    "this gateway's data folder has no alerts table: archive, serve or run makes it; start the gateway with the same --data"
)
UNREADABLE_TABLE = "the table of alerts cannot be read now: try again; the gateway's log says what is wrong with it"
OptionalText = Annotated[str | None, Query(max_length=200)]
RESPONSES: dict[int | str, dict[str, Any]] = {
    **{status: json_response(*INTAKE_RESPONSES[status]) for status in ("401", "403")},
    "404": json_response("no such vertical, or no alerts table in this gateway's data folder", PROBLEM_SCHEMA),
    "414": json_response("a query beyond what may be asked for", PROBLEM_SCHEMA),
    "429": json_response("more pages and streams than this client may ask for, or have at once; see Retry-After", PROBLEM_SCHEMA),
}
ALERTS_SCHEMA = {"type": "array", "items": {"type": "object"}}
PAGE_SCHEMA = {"type": "object", "properties": {"alerts": ALERTS_SCHEMA, "next": {"type": ["string", "null"]}}}


def alert_routes(
    verticals: Sequence[Vertical], settings: Settings, connection: Connection, access: Access, is_closing: Callable[[], bool]
) -> APIRouter:
    """The routes of these verticals' alerts. is_closing: whether the server is about to end, which ends the streams."""
    router = APIRouter(prefix="/v1/{vertical}/alerts", tags=["alerts"], responses=RESPONSES)
    paths = {vertical.name: Workspace(settings.data, vertical.name).table("alerts") for vertical in verticals}
    streams = {name: AlertStream(connection, topic_names(name).alerts) for name in paths}
    pages, stream_limiter = PageReader(), ConcurrencyLimiter(MAX_STREAMS_PER_CLIENT, settings.gateway_connections // 2)

    def admit_reader(vertical: str, request: Request) -> str:
        """The client's name. Raises AccessRefused first, so that a client that may not read learns of no vertical."""
        client = access.admit(request.scope, dict(request.scope["headers"]), vertical, "read")
        if vertical not in paths:
            raise HTTPException(404, f"no vertical of that name here; there are {', '.join(paths)}")
        return client

    @router.get("", summary="Alerts in the table, by event time", responses={
        200: json_response("a page", PAGE_SCHEMA),
        410: json_response("the cursor is too old: begin again", PROBLEM_SCHEMA),
        503: json_response("too many pages are asked for at once, or the table cannot be read now", PROBLEM_SCHEMA)})  # fmt: skip
    async def alerts(
        request: Request,
        vertical: str,
        since: datetime | None = None,
        entity: OptionalText = None,
        rule: OptionalText = None,
        severity: Severity | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Annotated[str | None, Query(max_length=500, description="`next` of the page before")] = None,
    ) -> Response:
        client = admit_reader(vertical, request)
        alert_filter = AlertFilter(to_utc(since) if since else None, entity, rule, severity)
        try:
            position = Cursor.parse(cursor) if cursor else None
            with ExitStack() as slot:
                slot.enter_context(pages.slot(client))
                page = await pages.read(paths[vertical], alert_filter, limit, position)
                stack = slot.pop_all()
        except InvalidCursor:
            raise HTTPException(422, "cursor: give `next` of the page before, as it is") from None
        except CursorExpired:
            raise HTTPException(410, "cursor: that version of the table is gone; begin again without one") from None
        except NoAlertsTable:
            raise HTTPException(404, NO_TABLE) from None
        except AlertsUnreadable as problem:
            LOG.error("the table of alerts of %s cannot be read: %s", vertical, problem)
            raise HTTPException(503, UNREADABLE_TABLE, {"retry-after": "5"}) from None
        except LimitReached as problem:
            await asyncio.sleep(REFUSAL_DELAY_SECONDS)
            raise HTTPException(problem.status, str(problem), {"retry-after": "1"}) from None
        return PageResponse(page, stack)

    @router.get("/stream", summary="Alerts as they arrive, as server-sent events", responses={
        200: {"description": "for ever", "content": {"text/event-stream": {}}},
        503: json_response("Kafka does not answer, or as many streams are open as there may be", PROBLEM_SCHEMA)})  # fmt: skip
    async def stream(request: Request, vertical: str) -> EventStreamResponse:
        client = admit_reader(vertical, request)
        try:
            async with AsyncExitStack() as slot:
                slot.enter_context(stream_limiter.slot(client))
                listener = await slot.enter_async_context(streams[vertical].listen())
                stack = slot.pop_all()
        except LimitReached as problem:
            await asyncio.sleep(REFUSAL_DELAY_SECONDS)
            raise HTTPException(problem.status, str(problem), {"retry-after": "5"}) from None
        except BrokerError:
            raise HTTPException(503, "Kafka does not answer") from None

        def is_over() -> bool:
            """Whether the server is about to end, or the token that opened the stream has been revoked or has ended."""
            return is_closing() or not access.is_still_allowed(request.scope, dict(request.scope["headers"]), vertical, "read")

        return EventStreamResponse(server_sent_events(listener, is_over), stack)

    return router


class PageResponse(Response):
    """A page of alerts whose slot is free again once the client has read it: who does not read keeps its own slots busy."""

    def __init__(self, page: bytes, stack: ExitStack) -> None:
        super().__init__(page, media_type="application/json")
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stack:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send_in_parts(send, bytes(self.body))


class EventStreamResponse(StreamingResponse):
    """Server-sent events; `stack` is closed in the end, also where the client left before the first of them."""

    def __init__(self, events: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-store"})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)
