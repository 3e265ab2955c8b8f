"""The gateway as one ASGI application: the intake of each vertical before all else, and what FastAPI routes."""

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
from common.contract.python_parser import PlainContract
from common.gateway.alert_routes import alert_routes
from common.gateway.authorization import Access, Refused
from common.gateway.byte_budget import Budget
from common.gateway.connections import peer_of
from common.gateway.delivery import Delivery
from common.gateway.event_intake import Events
from common.gateway.health import health_routes
from common.gateway.idempotency import Answers
from common.gateway.limits import PATIENCE_SECONDS, Rates
from common.gateway.openapi import intake
from common.kafka.connection import Connection
from common.settings import Settings
from common.vertical import Vertical

TITLE = "hybrid gateway"
BODIES_BYTES = 224 * 1024 * 1024  # that all requests under way may hold, or more where a body may be that large
ASKED_OF_PEER = 200  # requests a second for what needs no token: health, and whatever is not there
MOST_QUERY = 12_000  # bytes: all that may be asked for, in the longest way to write it
TOO_LONG = JSONResponse({"detail": f"the query after ? is longer than {MOST_QUERY:,} bytes"}, 414)
TOO_OFTEN = JSONResponse({"detail": f"at most {ASKED_OF_PEER} such requests a second are answered"}, 429, {"retry-after": "1"})
REFUSED_HEADERS = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}, 503: {"retry-after": "1"}}


class Gateway:
    """The application. closing: whether the server is about to end, for streams that would go on for ever."""

    def __init__(self, verticals: Sequence[Vertical], settings: Settings, connection: Connection, access: Access, *,
                 closing: Callable[[], bool] = lambda: False, fatal: Callable[[str], None] = lambda problem: None) -> None:
        self._delivery = Delivery(connection, settings.gateway_timeout, fatal=fatal)
        self._intakes = self._made_intakes(verticals, settings, access)
        self._access, self._asked, self._read = access, Rates(ASKED_OF_PEER), Rates(settings.gateway_pages)
        self.routed = FastAPI(title=TITLE, openapi_url=None, redirect_slashes=False, lifespan=self._lifespan)
        self.routed.include_router(health_routes(self._delivery))
        self.routed.include_router(alert_routes(verticals, settings, connection, access, closing))
        self.routed.add_exception_handler(Refused, _refused)
        self.routed.add_exception_handler(RequestValidationError, _invalid)
        by_name = {each.name: each for each in verticals}
        described = cache(lambda names: orjson.dumps(_described(self.routed, [by_name[name] for name in names])))

        @self.routed.get("/openapi.json", include_in_schema=False)
        async def document(request: Request) -> Response:
            """Of the verticals that whoever asks may do something with."""
            seen = access.seen_by(request.scope, dict(request.scope["headers"]), by_name)
            return Response(described(tuple(seen)), media_type="application/json")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.routed(scope, receive, send)
            return
        refusal = None
        if len(scope["query_string"]) > MOST_QUERY:  # before it is read, which takes the longer the more there is
            refusal = TOO_LONG if await self._may_ask(scope) else TOO_OFTEN
        elif scope["path"] in self._intakes:
            await self._intakes[scope["path"]](scope, receive, send)
            return
        elif scope["path"].startswith("/v1/"):
            refusal = await self._refusal(scope)
        elif not await self._may_ask(scope):
            refusal = TOO_OFTEN
        await (refusal or self.routed)(scope, receive, send)

    async def _refusal(self, scope: Any) -> JSONResponse | None:
        """What is answered to a request below /v1/ that may not go on: it has no token, or its client asks too often."""
        try:
            client = self._access.client_of(scope, dict(scope["headers"]))
        except Refused as refused:
            return await _answer(refused) if await self._may_ask(scope) else TOO_OFTEN
        if wait := self._read.wait(client):
            await asyncio.sleep(PATIENCE_SECONDS)
            problem = {"detail": "more pages and streams than this client may ask for"}
            return JSONResponse(problem, 429, {"retry-after": str(wait)})
        self._read.take(client, 1)
        return None

    async def _may_ask(self, scope: Any) -> bool:
        """Whether this peer asks seldom enough for what needs no token, or has none; it learns it late where it does not."""
        peer = peer_of((scope.get("client") or ("local",))[0])
        if self._asked.wait(peer):
            await asyncio.sleep(PATIENCE_SECONDS)
            return False
        self._asked.take(peer, 1)
        return True

    def _made_intakes(self, verticals: Sequence[Vertical], settings: Settings, access: Access) -> dict[str, Events]:
        rates, answers, bounds = Rates(settings.gateway_rate), Answers(), TimeBounds.of(settings)
        largest = settings.gateway_body_megabytes * 1024 * 1024
        budget = Budget(max(BODIES_BYTES, 6 * largest))  # of a client half: a body, packed and unpacked, and what is read from it
        turn = asyncio.Lock()
        contracts = [(each, PlainContract(each, bounds)) for each in verticals]
        return {
            f"/v1/{each.name}/events": Events(each, contract, self._delivery, access, rates, answers, budget, largest, turn)
            for each, contract in contracts
        }

    @asynccontextmanager
    async def _lifespan(self, routed: FastAPI) -> AsyncIterator[None]:
        self._delivery.start()
        yield
        self._delivery.stop()


def _described(routed: FastAPI, verticals: Sequence[Vertical]) -> dict[str, Any]:
    """The OpenAPI document."""
    document = get_openapi(title=TITLE, version="1", routes=routed.routes)
    document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for each in verticals:
        document["paths"][f"/v1/{each.name}/events"] = intake(each, [{"token": []}, {}])
    return document


async def _refused(request: Request, refused: Exception) -> JSONResponse:
    assert isinstance(refused, Refused)
    return await _answer(refused)


async def _answer(refused: Refused) -> JSONResponse:
    if refused.status == 401:
        await asyncio.sleep(PATIENCE_SECONDS)
    return JSONResponse({"detail": str(refused)}, refused.status, REFUSED_HEADERS.get(refused.status))


async def _invalid(request: Request, invalid: Exception) -> JSONResponse:
    """Where, and what is wrong, without the value, which may name a person."""
    assert isinstance(invalid, RequestValidationError)
    return JSONResponse({"detail": [{name: each[name] for name in ("loc", "msg", "type")} for each in invalid.errors()]}, 422)
