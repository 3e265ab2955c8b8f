"""The gateway as one ASGI application: requests to an intake go there directly, all others through FastAPI."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response

from common.contract import TimeBounds
from common.contract.python_parser import PythonContract
from common.gateway.alert_routes import alert_routes
from common.gateway.authorization import Access, AccessRefused
from common.gateway.byte_budget import ByteBudget
from common.gateway.connections import peer_name
from common.gateway.delivery import AsyncProducer
from common.gateway.event_intake import EventIntake, IntakeResources
from common.gateway.health import health_routes
from common.gateway.idempotency import AnswerCache
from common.gateway.limits import REFUSAL_DELAY_SECONDS, RateLimiter
from common.gateway.openapi import intake_path_item
from common.kafka.connection import Connection
from common.settings import Settings
from common.vertical import Vertical

TITLE = "hybrid gateway"
MAX_BODIES_BYTES = 224 * 1024 * 1024  # that all requests under way may hold; more where a single body may be large
ANONYMOUS_REQUESTS_PER_SECOND = 200  # of one peer, for what needs no token: health, and paths that do not exist
MAX_QUERY_BYTES = 12_000  # the longest query that we read, each character of it escaped
QUERY_TOO_LONG = JSONResponse({"detail": f"the query after ? is longer than {MAX_QUERY_BYTES:,} bytes"}, 414)
TOO_MANY_REQUESTS = JSONResponse(
    {"detail": f"at most {ANONYMOUS_REQUESTS_PER_SECOND} such requests a second are answered"}, 429, {"retry-after": "1"}
)
REFUSAL_HEADERS = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}, 503: {"retry-after": "1"}}


class Gateway:
    """The application. is_closing: whether the server is about to end, which ends the streams. on_fatal: as `AsyncProducer`'s."""

    def __init__(
        self,
        verticals: Sequence[Vertical],
        settings: Settings,
        connection: Connection,
        access: Access,
        *,
        is_closing: Callable[[], bool] = lambda: False,
        on_fatal: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self._producer = AsyncProducer(connection, settings.gateway_timeout, on_fatal=on_fatal)
        self._intakes = self._build_intakes(verticals, settings, access)
        self._access = access
        self._anonymous_rates, self._read_rates = RateLimiter(ANONYMOUS_REQUESTS_PER_SECOND), RateLimiter(settings.gateway_pages)
        self.fastapi = FastAPI(title=TITLE, openapi_url=None, redirect_slashes=False, lifespan=self._lifespan)
        self.fastapi.include_router(health_routes(self._producer))
        self.fastapi.include_router(alert_routes(verticals, settings, connection, access, is_closing))
        self.fastapi.add_exception_handler(AccessRefused, _answer_refusal)
        self.fastapi.add_exception_handler(RequestValidationError, _answer_invalid)
        by_name = {vertical.name: vertical for vertical in verticals}
        document_of = cache(lambda names: orjson.dumps(_openapi_document(self.fastapi, [by_name[name] for name in names])))

        @self.fastapi.get("/openapi.json", include_in_schema=False)
        async def openapi_document(request: Request) -> Response:
            """Describes the verticals for which the client has a scope, and no others."""
            names = access.visible_names(request.scope, dict(request.scope["headers"]), by_name)
            return Response(document_of(tuple(names)), media_type="application/json")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.fastapi(scope, receive, send)
            return
        refusal = None
        if len(scope["query_string"]) > MAX_QUERY_BYTES:  # before it is read, which takes longer the longer it is
            refusal = QUERY_TOO_LONG if await self._admit_anonymous(scope) else TOO_MANY_REQUESTS
        elif scope["path"] in self._intakes:
            await self._intakes[scope["path"]](scope, receive, send)
            return
        elif scope["path"].startswith("/v1/"):
            refusal = await self._refuse_read(scope)
        elif not await self._admit_anonymous(scope):
            refusal = TOO_MANY_REQUESTS
        await (refusal or self.fastapi)(scope, receive, send)

    async def _refuse_read(self, scope: Any) -> JSONResponse | None:
        """The answer to a request below /v1/ that has no token, or whose client asks too often; None: it may go on."""
        try:
            client = self._access.identify_client(scope, dict(scope["headers"]))
        except AccessRefused as refusal:
            return await _refusal_response(refusal) if await self._admit_anonymous(scope) else TOO_MANY_REQUESTS
        if wait_seconds := self._read_rates.wait_seconds(client):
            await asyncio.sleep(REFUSAL_DELAY_SECONDS)
            problem = {"detail": "more pages and streams than this client may ask for"}
            return JSONResponse(problem, 429, {"retry-after": str(wait_seconds)})
        self._read_rates.charge(client, 1)
        return None

    async def _admit_anonymous(self, scope: Any) -> bool:
        """Whether this peer's rate leaves room for a request without a token, or for what needs none; "no" comes with a delay."""
        peer = peer_name((scope.get("client") or ("local",))[0])
        if self._anonymous_rates.wait_seconds(peer):
            await asyncio.sleep(REFUSAL_DELAY_SECONDS)
            return False
        self._anonymous_rates.charge(peer, 1)
        return True

    def _build_intakes(self, verticals: Sequence[Vertical], settings: Settings, access: Access) -> dict[str, EventIntake]:
        """The intakes by their paths."""
        max_body_bytes = settings.gateway_body_megabytes * 1024 * 1024
        resources = IntakeResources(
            producer=self._producer,
            access=access,
            rates=RateLimiter(settings.gateway_rate),
            answers=AnswerCache(),
            # A client may hold half of it: a body, packed and unpacked, and what is read from it.
            budget=ByteBudget(max(MAX_BODIES_BYTES, 6 * max_body_bytes)),
            max_body_bytes=max_body_bytes,
            thread_turn=asyncio.Lock(),
        )
        bounds = TimeBounds.from_settings(settings)
        return {
            f"/v1/{vertical.name}/events": EventIntake(vertical, PythonContract(vertical, bounds), resources)
            for vertical in verticals
        }

    @asynccontextmanager
    async def _lifespan(self, fastapi: FastAPI) -> AsyncIterator[None]:
        self._producer.start()
        yield
        self._producer.stop()


def _openapi_document(fastapi: FastAPI, verticals: Sequence[Vertical]) -> dict[str, Any]:
    document = get_openapi(title=TITLE, version="1", routes=fastapi.routes)
    document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for vertical in verticals:
        document["paths"][f"/v1/{vertical.name}/events"] = intake_path_item(vertical, [{"token": []}, {}])
    return document


async def _answer_refusal(request: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, AccessRefused)
    return await _refusal_response(refusal)


async def _refusal_response(refusal: AccessRefused) -> JSONResponse:
    if refusal.status == 401:
        await asyncio.sleep(REFUSAL_DELAY_SECONDS)
    return JSONResponse({"detail": str(refusal)}, refusal.status, REFUSAL_HEADERS.get(refusal.status))


async def _answer_invalid(request: Request, problem: Exception) -> JSONResponse:
    """Says which parameter is wrong and why, without its value, which may name a person."""
    assert isinstance(problem, RequestValidationError)
    detail = [{name: error[name] for name in ("loc", "msg", "type")} for error in problem.errors()]
    return JSONResponse({"detail": detail}, 422)
