"""`/livez`, `/readyz` and `/metrics` of the API, on its own port."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from draw_shared.runtime.health import Health


def probes(health: Health, registry: CollectorRegistry) -> APIRouter:
    """Return the routes that orchestrators and Prometheus ask."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    def live() -> Response:
        return _words(health.live(), "live")

    @router.get("/readyz")
    def ready() -> Response:
        failing = health.failing()
        return _words(not failing, ", ".join(failing) or "ready")

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _words(good: bool, words: str) -> Response:  # noqa: FBT001
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(f"{words}\n", status_code=status, media_type="text/plain")
