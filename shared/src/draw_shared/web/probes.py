"""Serves `/livez`, `/readyz` and `/metrics` of the API on its own port.

They answer even while all threads for requests wait, for instance for a locked table. Otherwise an
orchestrator that cannot see the cause would restart what is not broken.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from draw_shared.access.permissions import Permission
from draw_shared.runtime.health import Health
from draw_shared.web.identity import opens

SCRAPES: Final = 2
"""Their own threads, because reading the disk may take time."""


def probes(health: Health, registry: CollectorRegistry) -> APIRouter:
    """Return the routes for orchestrators and Prometheus."""
    router = APIRouter(include_in_schema=False, dependencies=[opens(Permission.OBSERVE)])
    scrapes = ThreadPoolExecutor(SCRAPES, thread_name_prefix="metrics")

    @router.get("/livez")
    async def live() -> Response:
        return _words(health.live(), "live")

    @router.get("/readyz")
    async def ready() -> Response:
        failing = health.failing()
        return _words(not failing, ", ".join(failing) or "ready")

    @router.get("/metrics")
    async def metrics() -> Response:
        shown = await asyncio.get_running_loop().run_in_executor(scrapes, generate_latest, registry)
        return Response(shown, media_type=CONTENT_TYPE_LATEST)

    return router


def _words(good: bool, words: str) -> Response:  # noqa: FBT001
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(f"{words}\n", status_code=status, media_type="text/plain")
