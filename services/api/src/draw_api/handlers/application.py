"""Assembles the application: REST, web page, probes, problem documents, middleware."""

from dataclasses import dataclass
from pathlib import Path

from fastapi import Depends, FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware.exceptions import ExceptionMiddleware

from draw_api.handlers import openapi
from draw_api.handlers.rest import (
    activity,
    archive,
    batch_queries,
    config,
    conflicts,
    conformance,
    control,
    dead_letters,
    deliveries,
    destinations,
    devices,
    jobs,
    nodes,
    objects,
    peers,
    queries,
    retrieve_events,
    retrieves,
    routing,
    routing_trials,
    saved_queries,
    session,
    single_sign_on,
    standing_queries,
    statistics,
    status,
    storage,
    transactions,
    users,
    webhooks,
)
from draw_api.handlers.rest.known_parameters import require_known_parameters
from draw_api.handlers.web import site
from draw_api.handlers.web.languages import Languages
from draw_api.handlers.work import WorkFactory
from draw_api.metrics import ApiMetrics
from draw_api.ports.live_retrieves import LiveRetrieves
from draw_api.services.single_sign_on import SingleSignOnService
from draw_shared.runtime.health import Health
from draw_shared.web import problems
from draw_shared.web.bodies import BoundedBodies
from draw_shared.web.callers import Callers
from draw_shared.web.observed import ObservedApplication
from draw_shared.web.probes import probes
from draw_shared.web.turns import TAKES_TURN, WaitingRoom

ROUTERS = (
    session.router,
    single_sign_on.router,
    users.own,
    status.router,
    activity.router,
    statistics.router,
    archive.router,
    objects.router,
    conflicts.router,
    storage.router,
    conformance.router,
    webhooks.router,
    nodes.router,
    devices.router,
    jobs.router,
    queries.router,
    saved_queries.router,
    standing_queries.router,
    batch_queries.router,
    # Before the others: "events" is no job id.
    retrieve_events.router,
    retrieves.router,
    config.router,
    # Before the other: it has longer paths.
    routing_trials.router,
    routing.router,
    destinations.router,
    deliveries.router,
    peers.titles,
    peers.access,
    control.router,
    dead_letters.router,
    transactions.router,
    users.users,
    users.sessions,
    users.tokens,
)


@dataclass(frozen=True, slots=True)
class AppDependencies:
    """What the routes need from the composition root."""

    work: WorkFactory
    sign_on: SingleSignOnService
    live_retrieves: LiveRetrieves
    storage_root: Path
    health: Health
    registry: CollectorRegistry
    metrics: ApiMetrics
    version: str


def application(given: AppDependencies) -> FastAPI:
    """Return the whole ASGI application; it connects to nothing before the first request."""
    made = ObservedApplication(
        title="DRAW DICOM",
        version=given.version,
        # openapi.install serves it, as a route that names its permission like all others.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    made.state.metrics = given.metrics
    made.state.callers = Callers()
    made.state.waiting_room = WaitingRoom(made.state.callers, given.metrics)
    made.state.work = given.work
    made.state.sign_on = given.sign_on
    made.state.live_retrieves = given.live_retrieves
    made.state.storage_root = given.storage_root
    problems.install(made)
    made.include_router(probes(given.health, given.registry))
    for router in ROUTERS:
        made.include_router(router, dependencies=[TAKES_TURN, Depends(require_known_parameters)])
    openapi.install(made, ROUTERS)
    site.install(made)
    made.add_middleware(BoundedBodies)
    made.add_middleware(Languages)
    # Requests that are refused before routing get the same answers.
    foreseen = {e: h for e, h in made.exception_handlers.items() if e is not Exception}
    made.add_middleware(ExceptionMiddleware, handlers=foreseen)
    return made
