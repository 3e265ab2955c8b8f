"""`GET /v1/{vertical}/alerts` and `/alerts/stream`."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from common.alerts import Severity
from common.gateway.access import Access, Refused
from common.gateway.alerts import BadCursor, Cursor, CursorGone, Wanted, read_page
from common.gateway.openapi import ANSWERS, PROBLEM, response
from common.gateway.stream import AlertStream, Listener, server_sent
from common.ingestion.connection import BrokerError, Connection
from common.ingestion.topics import topic_names
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace

Text = Annotated[str | None, Query(max_length=200)]
RESPONSES: dict[int | str, dict[str, Any]] = {
    **{status: response(*ANSWERS[status]) for status in ("401", "403")}, "404": response("no such vertical", PROBLEM),
}
MANY = {"type": "array", "items": {"type": "object"}}
PAGE = {"type": "object", "properties": {"alerts": MANY, "next": {"type": ["string", "null"]}}}


def alert_routes(
    verticals: Sequence[Vertical], settings: Settings, connection: Connection, access: Access, closing: Callable[[], bool]
) -> APIRouter:
    router = APIRouter(prefix="/v1/{vertical}/alerts", tags=["alerts"], responses=RESPONSES)
    paths = {each.name: Workspace(settings.data, each.name).table("alerts") for each in verticals}
    streams = {name: AlertStream(connection, topic_names(name).alerts) for name in paths}

    def readable(vertical: str, request: Request) -> None:
        """Raises Refused first, so that who may not read does not learn what there is."""
        access.allow(request.scope, dict(request.scope["headers"]), vertical, "read")
        if vertical not in paths:
            raise HTTPException(404, f"no vertical of that name here; there are {', '.join(paths)}")

    @router.get("", summary="Alerts in the table, by event time", responses={
        200: response("a page", PAGE),
        410: response("the cursor is too old: begin again", PROBLEM)})  # fmt: skip
    async def alerts(
        request: Request, vertical: str, since: datetime | None = None, entity: Text = None, rule: Text = None,
        severity: Severity | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Annotated[str | None, Query(max_length=500, description="`next` of the page before")] = None,
    ) -> Response:
        readable(vertical, request)
        if since and since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        try:
            place = Cursor.read(cursor) if cursor else None
            page = await run_in_threadpool(read_page, paths[vertical], Wanted(since, entity, rule, severity), limit, place)
        except BadCursor:
            raise HTTPException(422, "cursor: give `next` of the page before, as it is") from None
        except CursorGone:
            raise HTTPException(410, "cursor: that version of the table is gone; begin again without one") from None
        return Response(orjson.dumps(page), media_type="application/json")

    @router.get("/stream", summary="Alerts as they arrive, as server-sent events", responses={
        200: {"description": "for ever", "content": {"text/event-stream": {}}},
        503: response("Kafka does not answer", PROBLEM)})  # fmt: skip
    async def stream(request: Request, vertical: str) -> StreamingResponse:
        readable(vertical, request)
        stack = AsyncExitStack()
        try:
            listener = await stack.enter_async_context(streams[vertical].listening())
        except BrokerError:
            raise HTTPException(503, "Kafka does not answer") from None
        def is_over() -> bool:
            """Also once the token that opened the stream is revoked."""
            try:
                readable(vertical, request)
            except Refused:
                return True
            return closing()

        return StreamingResponse(_until_gone(stack, listener, is_over), media_type="text/event-stream",
                                 headers={"cache-control": "no-store"})

    return router


async def _until_gone(stack: AsyncExitStack, listener: Listener, closing: Callable[[], bool]) -> AsyncIterator[bytes]:
    async with stack:
        async for event in server_sent(listener, closing):
            yield event
