"""Destinations of the rules: how they do, and holding them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.destination_words import kind_words
from draw_api.handlers.web.languages import N_, said
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.destinations import DestinationMode, DestinationSummary
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict
from draw_shared.routing.parts import Name
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadRouting = Annotated[Principal, page_requires(Permission.READ_ROUTING)]
SteerAct = Annotated[SubmittedForm, form_requires(Permission.STEER_DELIVERIES)]

HOME: Final = "/routing/destinations"
MODES: Final[Mapping[str, tuple[str, str]]] = {
    "active": ("active", N_("Running")),
    "paused": ("paused", N_("Paused")),
    "draining": ("draining", N_("Draining")),
}
"""By the mode of a destination, its badge and its word."""
DestinationInPath = Annotated[Name, Path()]


@dataclass(frozen=True, slots=True)
class DestinationView(View):
    """What the pages of destinations have in common."""

    modes: ClassVar[Mapping[str, tuple[str, str]]] = MODES

    def kind(self, destination: DestinationSummary) -> str:
        """Return what its kind is called."""
        return kind_words(destination.kind)


@dataclass(frozen=True, slots=True)
class DestinationListView(DestinationView):
    """The destinations of the rules in force, in the order of the document."""

    template: ClassVar[str] = "destinations/list.html.jinja"
    fragment: ClassVar[str] = "destinations/_list.html.jinja"

    found: Sequence[DestinationSummary]
    problem: str = ""
    """Why they cannot be shown."""


@dataclass(frozen=True, slots=True)
class DestinationDetailView(DestinationView):
    """One destination."""

    template: ClassVar[str] = "destinations/detail.html.jinja"
    fragment: ClassVar[str] = "destinations/_detail.html.jinja"

    destination: DestinationSummary


@router.get(HOME)
def destinations(request: Request, by: MayReadRouting, work: InWork) -> Response:
    """List the destinations."""
    return page(request, by, _list(work))


@router.get(f"/live{HOME}", dependencies=[costs(RequestCost.STREAMS)])
def live_list(request: Request, _by: MayReadRouting) -> StreamingResponse:
    """Stream the list."""
    return stream(request, _list, HOME, Permission.READ_ROUTING)


@router.get(f"{HOME}/{{name}}")
def destination(
    request: Request, by: MayReadRouting, work: InWork, name: DestinationInPath
) -> Response:
    """Show one destination."""
    return page(request, by, DestinationDetailView(work.destinations.one(name)))


@router.get(f"/live{HOME}/{{name}}", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _by: MayReadRouting, name: DestinationInPath) -> StreamingResponse:
    """Stream one destination."""
    return stream(
        request,
        lambda work: DestinationDetailView(work.destinations.one(name)),
        _page_of(name),
        Permission.READ_ROUTING,
    )


@router.post(f"{HOME}/{{name}}/pause")
def pause(act: SteerAct, work: InWork, name: DestinationInPath) -> Response:
    """Begin nothing new to a destination."""
    return _set(act, work, name, "paused", "destination-paused")


@router.post(f"{HOME}/{{name}}/drain")
def drain(act: SteerAct, work: InWork, name: DestinationInPath) -> Response:
    """Send only what was decided until now."""
    return _set(act, work, name, "draining", "destination-draining")


@router.post(f"{HOME}/{{name}}/resume")
def resume(act: SteerAct, work: InWork, name: DestinationInPath) -> Response:
    """Send everything again."""
    return _set(act, work, name, "active", "destination-resumed")


def _set(
    act: SubmittedForm, work: UnitOfWork, name: str, mode: DestinationMode, notice: str
) -> Response:
    work.destinations.set_mode(act.by, name, mode)
    return redirect(_page_of(name), notice)


def _page_of(name: str) -> str:
    return f"{HOME}/{quote(name, safe='')}"


def _list(work: UnitOfWork) -> DestinationListView:
    try:
        return DestinationListView(work.destinations.all())
    except Conflict as error:
        return DestinationListView([], said(str(error)))
