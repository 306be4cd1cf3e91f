"""The services: how each replica is doing, live; starting, stopping and restarting them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web import words
from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.languages import N_, _, gettext
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, address, page, redirect
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.control import ControlAction, ServiceName, ServiceState
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadStatus = Annotated[Principal, page_requires(Permission.READ_STATUS)]
MayControlServices = Annotated[Principal, page_requires(Permission.CONTROL_SERVICES)]
ControlServicesAct = Annotated[SubmittedForm, form_requires(Permission.CONTROL_SERVICES)]

CONSEQUENCES: Final = {
    ControlAction.START: N_("It resumes its work."),
    ControlAction.STOP: N_(
        "It finishes what it has begun and stays stopped until somebody starts it, even after a"
        " restart of the machine."
    ),
    ControlAction.RESTART: N_("It finishes what it has begun, stops, and starts again."),
}
QUESTIONS: Final = {
    ControlAction.START: N_("Start %(whom)s?"),
    ControlAction.STOP: N_("Stop %(whom)s?"),
    ControlAction.RESTART: N_("Restart %(whom)s?"),
}
BUTTONS: Final = {
    ControlAction.START: N_("Start %(whom)s"),
    ControlAction.STOP: N_("Stop %(whom)s"),
    ControlAction.RESTART: N_("Restart %(whom)s"),
}
WHILE_DOWN: Final = {
    "scp": N_("Until then modalities are rejected: nothing can be sent, queried or retrieved."),
    "indexer": N_("Until then images are received and kept, but appear in no list or query."),
    "qr-worker": N_("Until then jobs wait: nothing is queried, retrieved or sent."),
}
"""What a service that does not run means for those who use it."""


@dataclass(frozen=True, slots=True)
class ServicesView(View):
    """Every replica of every service."""

    template: ClassVar[str] = "services/list.html.jinja"
    fragment: ClassVar[str] = "services/_live.html.jinja"

    services: list[ServiceState]


def _look(work: UnitOfWork) -> ServicesView:
    return ServicesView(work.control.services())


@router.get("/services")
def services(request: Request, by: MayReadStatus, work: InWork) -> Response:
    """Show how every replica is doing."""
    return page(request, by, _look(work))


@router.get("/live/services", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _: MayReadStatus) -> StreamingResponse:
    """Stream the changing part of the page."""
    return stream(request, _look, "/services", Permission.READ_STATUS)


@router.get("/services/{service}/{action}")
def ask(
    request: Request,
    by: MayControlServices,
    work: InWork,
    service: ServiceName,
    action: ControlAction,
    replica: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Ask once more before a service is told something."""
    whom = replica or _("every replica of %(service)s", service=service)
    found = [
        one
        for state in work.control.services()
        if state.service == service
        for one in state.replicas
        if replica in {"", one.replica}
    ]
    busy = sum(one.active_associations for one in found)
    text = gettext(CONSEQUENCES[action])
    if action is not ControlAction.START:
        text = f"{text} {gettext(WHILE_DOWN.get(service, ''))}".rstrip()
    view = ConfirmView(
        title=_(QUESTIONS[action], whom=whom),
        text=text,
        about=((_("Open associations"), words.count(busy)),) if service == "scp" else (),
        button=_(BUTTONS[action], whom=whom),
        action=address(f"/services/{service}/{action}"),
        back="/services",
        fields=(("replica", replica),) if replica else (),
        danger=action is not ControlAction.START,
    )
    return page(request, by, view)


@router.post("/services/{service}/{action}")
def tell(
    act: ControlServicesAct, work: InWork, service: ServiceName, action: ControlAction
) -> Response:
    """Tell a service, or one replica of it, what to do."""
    work.control.tell(act.by, service, action, act.form.text("replica") or None)
    return redirect("/services", "told")
