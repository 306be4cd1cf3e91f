"""Assembles the application: the addresses of DICOMweb, probes, problem documents, middleware."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match, Route
from starlette.types import Scope
from typing_extensions import override

from draw_dicomweb.handlers.guards import ByMethod, Guarded, KnownCallers
from draw_dicomweb.handlers.metadata import MetadataEndpoints
from draw_dicomweb.handlers.pixels import PixelEndpoints
from draw_dicomweb.handlers.retrieve import RetrieveEndpoints
from draw_dicomweb.handlers.search import SearchEndpoints
from draw_dicomweb.handlers.store import StoreEndpoints
from draw_dicomweb.handlers.work import DicomwebWorkFactory
from draw_dicomweb.metrics import DicomwebMetrics
from draw_dicomweb.models import ROOT
from draw_dicomweb.ports.objects import ObjectSource, ValueSource
from draw_dicomweb.services.metadata import MetadataService
from draw_dicomweb.services.search import SearchService
from draw_dicomweb.services.store import StoreRules
from draw_shared.access.permissions import Permission
from draw_shared.runtime.health import Health
from draw_shared.storage.ingest import Ingest
from draw_shared.web import problems
from draw_shared.web.callers import Callers
from draw_shared.web.observed import ObservedApplication
from draw_shared.web.probes import probes
from draw_shared.web.turns import RequestCost, WaitingRoom

READING: Final = frozenset({"GET", "HEAD"})
STORING: Final = frozenset({"POST"})
STUDIES: Final = "/studies"
STUDY: Final = "/studies/{studies}"
SERIES: Final = f"{STUDY}/series/{{series}}"
INSTANCE: Final = f"{SERIES}/instances/{{instances}}"


class GuardedRoute(Route):
    """A route that tells its template, by which requests are counted."""

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self} if match is Match.FULL else found


@dataclass(frozen=True, slots=True)
class DicomwebDependencies:
    """What the addresses need from the composition root."""

    work: DicomwebWorkFactory
    search: SearchService
    source: ObjectSource
    values: ValueSource
    metadata: MetadataService
    ingest: Ingest
    store_rules: Callable[[], StoreRules]
    health: Health
    registry: CollectorRegistry
    metrics: DicomwebMetrics
    version: str


def application(given: DicomwebDependencies) -> FastAPI:
    """Return the whole ASGI application; it connects to nothing before the first request."""
    made = ObservedApplication(
        title="DRAW DICOM DICOMweb",
        version=given.version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    made.state.metrics = given.metrics
    made.state.callers = Callers()
    made.state.waiting_room = WaitingRoom(made.state.callers, given.metrics)
    made.state.work = given.work
    made.state.known_callers = KnownCallers(given.work)
    problems.install(made)
    made.include_router(probes(given.health, given.registry))
    made.router.routes.extend(_routes(given))
    # Requests that are refused before routing get the same answers.
    foreseen = {e: h for e, h in made.exception_handlers.items() if e is not Exception}
    made.add_middleware(ExceptionMiddleware, handlers=foreseen)
    return made


def _routes(given: DicomwebDependencies) -> Iterator[GuardedRoute]:
    search = SearchEndpoints(given.search)
    retrieve = RetrieveEndpoints(given.work, given.source, given.metrics)
    store = StoreEndpoints(given.work, given.ingest, given.store_rules, given.metrics)
    storing = Guarded(store.store, Permission.STORE_OBJECTS, RequestCost.UPLOADS, STORING)
    searches = {
        STUDIES: search.studies,
        "/series": search.series,
        "/instances": search.instances,
        f"{STUDY}/series": search.series,
        f"{STUDY}/instances": search.instances,
        f"{SERIES}/instances": search.instances,
    }
    for path, endpoint in searches.items():
        guarded = Guarded(endpoint, Permission.READ_ARCHIVE, RequestCost.ORDINARY, READING)
        yield GuardedRoute(ROOT + path, ByMethod(guarded, storing) if path == STUDIES else guarded)
    for path in (STUDY, SERIES, INSTANCE):
        guarded = Guarded(
            retrieve.objects, Permission.DOWNLOAD_OBJECTS, RequestCost.DOWNLOADS, READING
        )
        yield GuardedRoute(ROOT + path, ByMethod(guarded, storing) if path == STUDY else guarded)
    metadata = MetadataEndpoints(given.metadata)
    for path in (STUDY, SERIES, INSTANCE):
        yield GuardedRoute(
            f"{ROOT}{path}/metadata",
            Guarded(metadata.metadata, Permission.READ_ARCHIVE, RequestCost.OBJECTS, READING),
        )
    pixels = PixelEndpoints(given.work, given.values)
    for path, endpoint in (
        (f"{INSTANCE}/frames/{{frames}}", pixels.frames),
        (f"{INSTANCE}/bulkdata/{{path:path}}", pixels.bulk),
    ):
        yield GuardedRoute(
            ROOT + path,
            Guarded(endpoint, Permission.DOWNLOAD_OBJECTS, RequestCost.ORDINARY, READING),
        )
