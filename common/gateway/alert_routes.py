"""`GET /v1/{vertical}/alerts` and `/alerts/stream`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from common.alerts import Severity
from common.gateway.alert_pages import Pages
from common.gateway.alert_stream import AlertStream, server_sent
from common.gateway.authorization import Access
from common.gateway.limits import PATIENCE_SECONDS, NoPlace, Places
from common.gateway.openapi import ANSWERS, PROBLEM, response
from common.gateway.stored_alerts import BadCursor, Cursor, CursorGone, NoAlerts, Wanted, in_utc
from common.kafka.connection import BrokerError, Connection
from common.kafka.topics import topic_names
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace

STREAMS_OF_CLIENT = 20
NO_TABLE = (
    "this gateway's data folder has no alerts table: archive, serve or run makes it; start the gateway with the same --data"
)
Text = Annotated[str | None, Query(max_length=200)]
RESPONSES: dict[int | str, dict[str, Any]] = {
    **{status: response(*ANSWERS[status]) for status in ("401", "403")},
    "404": response("no such vertical, or no alerts table in this gateway's data folder", PROBLEM),
    "414": response("a query beyond what may be asked for", PROBLEM),
    "429": response("more pages and streams than this client may ask for, or have at once; see Retry-After", PROBLEM),
}
MANY = {"type": "array", "items": {"type": "object"}}
PAGE = {"type": "object", "properties": {"alerts": MANY, "next": {"type": ["string", "null"]}}}


def alert_routes(verticals: Sequence[Vertical], settings: Settings, connection: Connection, access: Access,
                 closing: Callable[[], bool]) -> APIRouter:
    router = APIRouter(prefix="/v1/{vertical}/alerts", tags=["alerts"], responses=RESPONSES)
    paths = {each.name: Workspace(settings.data, each.name).table("alerts") for each in verticals}
    streams = {name: AlertStream(connection, topic_names(name).alerts) for name in paths}
    pages, places = Pages(), Places(STREAMS_OF_CLIENT, settings.gateway_connections // 2)

    def readable(vertical: str, request: Request) -> str:
        """The client's name. Raises Refused first, so that who may not read does not learn what there is."""
        client = access.allow(request.scope, dict(request.scope["headers"]), vertical, "read")
        if vertical not in paths:
            raise HTTPException(404, f"no vertical of that name here; there are {', '.join(paths)}")
        return client

    @router.get("", summary="Alerts in the table, by event time", responses={
        200: response("a page", PAGE),
        410: response("the cursor is too old: begin again", PROBLEM),
        503: response("too many pages are asked for at once", PROBLEM)})  # fmt: skip
    async def alerts(
        request: Request, vertical: str, since: datetime | None = None, entity: Text = None, rule: Text = None,
        severity: Severity | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Annotated[str | None, Query(max_length=500, description="`next` of the page before")] = None,
    ) -> Response:
        client = readable(vertical, request)
        wanted = Wanted(in_utc(since) if since else None, entity, rule, severity)
        try:
            place = Cursor.read(cursor) if cursor else None
            with ExitStack() as opening:
                opening.enter_context(pages.place_for(client))
                page = await pages.read(paths[vertical], wanted, limit, place)
                stack = opening.pop_all()
        except BadCursor:
            raise HTTPException(422, "cursor: give `next` of the page before, as it is") from None
        except CursorGone:
            raise HTTPException(410, "cursor: that version of the table is gone; begin again without one") from None
        except NoAlerts:
            raise HTTPException(404, NO_TABLE) from None
        except NoPlace as full:
            await asyncio.sleep(PATIENCE_SECONDS)
            raise HTTPException(full.status, str(full), {"retry-after": "1"}) from None
        return Page(page, stack)

    @router.get("/stream", summary="Alerts as they arrive, as server-sent events", responses={
        200: {"description": "for ever", "content": {"text/event-stream": {}}},
        503: response("Kafka does not answer, or as many streams are open as there may be", PROBLEM)})  # fmt: skip
    async def stream(request: Request, vertical: str) -> EventStream:
        client = readable(vertical, request)
        try:
            async with AsyncExitStack() as opening:
                opening.enter_context(places.taken_by(client))
                listener = await opening.enter_async_context(streams[vertical].listening())
                stack = opening.pop_all()
        except NoPlace as full:
            await asyncio.sleep(PATIENCE_SECONDS)
            raise HTTPException(full.status, str(full), {"retry-after": "5"}) from None
        except BrokerError:
            raise HTTPException(503, "Kafka does not answer") from None

        def is_over() -> bool:
            """Also once the token that opened the stream is revoked, or ended."""
            return closing() or not access.still_allows(request.scope, dict(request.scope["headers"]), vertical, "read")

        return EventStream(server_sent(listener, is_over), stack)

    return router


class Page(Response):
    """A page of alerts, whose place is free again once it is written: who does not read it holds that, and no more memory."""

    def __init__(self, page: bytes, stack: ExitStack) -> None:
        super().__init__(page, media_type="application/json")
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stack:
            await super().__call__(scope, receive, send)


class EventStream(StreamingResponse):
    """Server-sent events; `stack` is closed in the end, also for a client that was gone before the first of them."""

    def __init__(self, events: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-store"})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)
