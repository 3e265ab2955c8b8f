"""The gateway as one ASGI application: the intake of each vertical before all else, and what FastAPI routes."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from common.contract import TimeBounds
from common.contract.plain import PlainContract
from common.gateway.access import Access, Refused
from common.gateway.delivery import Delivery
from common.gateway.events import Events
from common.gateway.health import health_routes
from common.gateway.idempotency import Answers
from common.gateway.limits import Rates
from common.gateway.openapi import intake
from common.gateway.reading import alert_routes
from common.ingestion.connection import Connection
from common.settings import Settings
from common.vertical import Vertical

TITLE = "hybrid gateway"


class Gateway:
    """The application. closing: whether the server is about to end, for streams that would go on for ever."""

    def __init__(self, verticals: Sequence[Vertical], settings: Settings, connection: Connection, access: Access, *,
                 closing: Callable[[], bool] = lambda: False, fatal: Callable[[str], None] = lambda problem: None) -> None:
        self._delivery = Delivery(connection, settings.gateway_timeout, fatal=fatal)
        self._intakes = self._made_intakes(verticals, settings, access)
        self.routed = FastAPI(title=TITLE, docs_url=None, redoc_url=None, lifespan=self._lifespan)
        self.routed.include_router(health_routes(self._delivery))
        self.routed.include_router(alert_routes(verticals, settings, connection, access, closing))
        self.routed.add_exception_handler(Refused, _refused)
        self.routed.openapi = lambda: described(self.routed, verticals)  # type: ignore[method-assign]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        events = self._intakes.get(scope["path"]) if scope["type"] == "http" else None
        await (events or self.routed)(scope, receive, send)

    def _made_intakes(self, verticals: Sequence[Vertical], settings: Settings, access: Access) -> dict[str, Events]:
        rates, answers, bounds = Rates(settings.gateway_rate), Answers(), TimeBounds.of(settings)
        largest = settings.gateway_body_megabytes * 1024 * 1024
        return {
            f"/v1/{each.name}/events":
                Events(each, PlainContract(each, bounds), self._delivery, access, rates, answers, largest)
            for each in verticals
        }

    @asynccontextmanager
    async def _lifespan(self, routed: FastAPI) -> AsyncIterator[None]:
        self._delivery.start()
        yield
        self._delivery.stop()


def described(routed: FastAPI, verticals: Sequence[Vertical]) -> dict[str, Any]:
    """The OpenAPI document, made when it is first asked for."""
    if routed.openapi_schema is None:
        document = get_openapi(title=TITLE, version="1", routes=routed.routes)
        document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for each in verticals:
            document["paths"][f"/v1/{each.name}/events"] = intake(each, [{"token": []}, {}])
        routed.openapi_schema = document
    return routed.openapi_schema


async def _refused(request: Request, refused: Exception) -> JSONResponse:
    assert isinstance(refused, Refused)
    headers = {"www-authenticate": "Bearer"} if refused.status == 401 else None
    return JSONResponse({"detail": str(refused)}, refused.status, headers)
