"""Routes that say whether the process is up, and whether a broker answers. Neither needs a token, and neither says more."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from common.gateway.delivery import AsyncProducer


def health_routes(producer: AsyncProducer) -> APIRouter:
    """`GET /healthz` and `GET /readyz`."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="The process is up")
    async def healthz() -> dict[str, str]:
        return {"status": "up"}

    @router.get("/readyz", summary="A Kafka broker answers", responses={503: {"description": "none does"}})
    async def readyz() -> JSONResponse:
        if await producer.is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "Kafka does not answer"}, 503)

    return router
