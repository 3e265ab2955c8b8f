"""Whether the process is up, and whether it can do its work. Neither needs a token, neither says more than that."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from common.gateway.delivery import Delivery


def health_routes(delivery: Delivery) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="The process is up")
    async def healthz() -> dict[str, str]:
        return {"status": "up"}

    @router.get("/readyz", summary="A Kafka broker answers", responses={503: {"description": "none does"}})
    async def readyz() -> JSONResponse:
        if await delivery.is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "Kafka does not answer"}, 503)

    return router
