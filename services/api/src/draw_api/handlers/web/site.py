"""Installs the whole web page: its routes, its static files, its failures."""

import re
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope
from typing_extensions import override

from draw_api.handlers.web import (
    about,
    archive,
    batch_queries,
    batches,
    config,
    conflicts,
    dashboard,
    dead_letters,
    deliveries,
    destination_forms,
    destinations,
    devices,
    failures,
    integration,
    jobs,
    log_views,
    nodes,
    objects,
    peers,
    queries,
    routing,
    routing_batches,
    routing_rules,
    routing_tester,
    saved_queries,
    selection,
    services,
    session,
    standing_queries,
    statistics,
    storage,
    transactions,
    users,
)
from draw_api.handlers.web.pages import STATIC
from draw_shared.web.turns import TAKES_TURN

ROUTERS: Final = (
    session.router,
    dashboard.router,
    services.router,
    archive.router,
    objects.router,
    selection.router,
    conflicts.router,
    storage.router,
    statistics.router,
    log_views.router,
    transactions.router,
    config.router,
    peers.router,
    nodes.router,
    devices.router,
    # Before the others: "saved" and "standing" are no query ids.
    saved_queries.router,
    standing_queries.router,
    queries.router,
    batch_queries.router,
    routing.router,
    routing_rules.router,
    routing_tester.router,
    routing_batches.router,
    destination_forms.router,
    destinations.router,
    deliveries.router,
    jobs.router,
    batches.router,
    users.router,
    integration.router,
    dead_letters.router,
    about.router,
)
FOR_EVER: Final = "public, max-age=31536000, immutable"
FOR_AN_HOUR: Final = "public, max-age=3600"
VERSIONED: Final = re.compile(rb"(^|&)v=[0-9a-f]{12}$")


class OwnFiles(StaticFiles):
    """Static files; the content of an address with a digest never changes."""

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        versioned = VERSIONED.search(scope.get("query_string", b"")) is not None
        answer.headers["Cache-Control"] = FOR_EVER if versioned else FOR_AN_HOUR
        return answer


def install(application: FastAPI) -> None:
    """Serve the web page; call it after the problem documents and REST are installed."""
    failures.install(application)
    application.mount("/static", OwnFiles(directory=STATIC), name="static")
    for router in ROUTERS:
        application.include_router(router, dependencies=[TAKES_TURN])
