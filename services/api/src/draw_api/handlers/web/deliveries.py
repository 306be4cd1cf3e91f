"""Deliveries: where things have gone, what did not arrive, and what is done about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.languages import N_, _, ngettext
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, RowId, SearchText
from draw_api.handlers.web.visitor import (
    CheckedForm,
    SubmittedForm,
    form_requires,
    page_requires,
)
from draw_api.handlers.web.words import count
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.deliveries import (
    EVERY_STATE,
    FINISHED,
    MAX_STEERED,
    NOT_ARRIVED,
    OPEN,
    RETRIED,
    DeliveriesToGiveUp,
    DeliveriesToRetry,
    DeliveryCriteria,
    RoutedDelivery,
    RoutedDeliveryDetail,
    SteeredDeliveries,
)
from draw_api.models.own_paths import own_path
from draw_api.models.paging import Page
from draw_api.models.texts import whole_numbers
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict
from draw_shared.web.turns import RequestCost, costs
from draw_shared.wording import message

router = APIRouter(include_in_schema=False)

MayReadRouting = Annotated[Principal, page_requires(Permission.READ_ROUTING)]
MaySteer = Annotated[Principal, page_requires(Permission.STEER_DELIVERIES)]
SteerAct = Annotated[SubmittedForm, form_requires(Permission.STEER_DELIVERIES)]

HOME: Final = "/routing/deliveries"
STATES: Final[Mapping[str, tuple[str, str]]] = {
    "pending": ("queued", N_("Pending")),
    "running": ("running", N_("Under way")),
    "waiting": ("waiting", N_("Waiting")),
    "delivered": ("delivered", N_("Delivered")),
    "partial": ("partial", N_("Partial")),
    "failed": ("failed", N_("Failed")),
    "superseded": ("superseded", N_("Superseded")),
}
"""By the state of a delivery, its badge and its word."""
STATE_GROUPS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "open": (OPEN, N_("Not over")),
    "missing": (NOT_ARRIVED, N_("Failed or partial")),
    "over": (FINISHED, N_("Over")),
}
"""Several states that can be asked for at once, and their words."""
NEWEST: Final = 20
"""Deliveries of a study or series that its page shows."""


def _asked(
    destination: SearchText = "",
    state: SearchText = "",
    study_instance_uid: SearchText = "",
    series_instance_uid: SearchText = "",
    order: SearchText = "",
) -> dict[str, str]:
    return dict(locals())


AskedOfDeliveries = Annotated[dict[str, str], Depends(_asked)]


@dataclass(frozen=True, slots=True)
class DeliveryView(View):
    """What the pages of deliveries have in common."""

    delivery_states: ClassVar[Mapping[str, tuple[str, str]]] = STATES
    retried: ClassVar[tuple[str, ...]] = RETRIED
    finished: ClassVar[tuple[str, ...]] = FINISHED


@dataclass(frozen=True, slots=True)
class DeliveryListView(DeliveryView):
    """A page of the deliveries that match."""

    template: ClassVar[str] = "deliveries/list.html.jinja"
    fragment: ClassVar[str] = "deliveries/_list.html.jinja"
    state_groups: ClassVar[Mapping[str, tuple[tuple[str, ...], str]]] = STATE_GROUPS

    found: Page[RoutedDelivery]
    asked: dict[str, str]
    destinations: Sequence[str]
    """Names of the destinations of the rules in force."""

    @property
    def filtered(self) -> bool:
        """Whether not all are asked for."""
        return any(value for name, value in self.asked.items() if name != "order")


@dataclass(frozen=True, slots=True)
class DeliveryDetailView(DeliveryView):
    """One delivery."""

    template: ClassVar[str] = "deliveries/detail.html.jinja"
    fragment: ClassVar[str] = "deliveries/_detail.html.jinja"

    delivery: RoutedDeliveryDetail


@dataclass(frozen=True, slots=True)
class SteeredView(View):
    """What was done with the deliveries that were ticked."""

    template: ClassVar[str] = "deliveries/answer.html.jinja"

    title: str
    back: str
    done: SteeredDeliveries


@router.get(HOME)
def deliveries(
    request: Request,
    by: MayReadRouting,
    work: InWork,
    asked: AskedOfDeliveries,
    cursor: Cursor = None,
) -> Response:
    """List deliveries, the newest first unless asked for otherwise."""
    return page(request, by, _list(work, asked, cursor))


@router.get(f"/live{HOME}", dependencies=[costs(RequestCost.STREAMS)])
def live_list(
    request: Request, _by: MayReadRouting, asked: AskedOfDeliveries, cursor: Cursor = None
) -> StreamingResponse:
    """Stream the list."""
    return stream(request, lambda work: _list(work, asked, cursor), HOME, Permission.READ_ROUTING)


@router.get(f"{HOME}/retry")
@router.get(f"{HOME}/give-up")
def list_again(_by: MaySteer) -> Response:
    """Lead back to the list: a selection cannot be had again by its address."""
    return redirect(HOME)


@router.post(f"{HOME}/retry")
def retry_selected(request: Request, act: SteerAct, work: InWork) -> Response:
    """Try the ticked deliveries now or once more."""
    wanted = DeliveriesToRetry(ids=_ticked(act.form))
    done = work.deliveries.retry_many(act.by, wanted)
    return _answer(request, act, _("Trying again"), done, "deliveries-retried")


@router.post(f"{HOME}/give-up")
def give_up_selected(request: Request, act: SteerAct, work: InWork) -> Response:
    """Ask whether the ticked deliveries are to be given up, then give them up."""
    ids, back = _ticked(act.form), _back(act.form)
    if not act.form.has("confirmed"):
        view = ConfirmView(
            title=ngettext("Give this delivery up?", "Give these deliveries up?", len(ids)),
            text=_("What has arrived stays there. Nothing more is sent, until somebody retries."),
            button=ngettext("Give it up", "Give them up", len(ids)),
            action=f"{HOME}/give-up",
            back=back,
            fields=(
                ("confirmed", "yes"),
                ("back", back),
                *(("delivery", str(one)) for one in ids),
            ),
            about=((_("Deliveries"), count(len(ids))),),
        )
        return page(request, act.by, view)
    done = work.deliveries.give_up_many(act.by, DeliveriesToGiveUp(ids=ids))
    return _answer(request, act, _("Giving up"), done, "deliveries-given-up")


@router.get(f"{HOME}/{{delivery_id}}")
def delivery(request: Request, by: MayReadRouting, work: InWork, delivery_id: RowId) -> Response:
    """Show one delivery."""
    return page(request, by, DeliveryDetailView(work.deliveries.one(delivery_id)))


@router.get(f"/live{HOME}/{{delivery_id}}", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _by: MayReadRouting, delivery_id: RowId) -> StreamingResponse:
    """Stream one delivery; it may go on after its end, when somebody retries it."""
    return stream(
        request,
        lambda work: DeliveryDetailView(work.deliveries.one(delivery_id)),
        f"{HOME}/{delivery_id}",
        Permission.READ_ROUTING,
    )


@router.post(f"{HOME}/{{delivery_id}}/retry")
def retry(act: SteerAct, work: InWork, delivery_id: RowId) -> Response:
    """Try a delivery now or once more."""
    work.deliveries.retry(act.by, delivery_id)
    return redirect(_back(act.form, f"{HOME}/{delivery_id}"), "delivery-retried")


@router.get(f"{HOME}/{{delivery_id}}/give-up")
def ask_give_up(request: Request, by: MaySteer, work: InWork, delivery_id: RowId) -> Response:
    """Ask for confirmation before a delivery is given up."""
    found = work.deliveries.one(delivery_id)
    view = ConfirmView(
        title=ngettext("Give this delivery up?", "Give these deliveries up?", 1),
        text=_("What has arrived stays there. Nothing more is sent, until somebody retries."),
        button=ngettext("Give it up", "Give them up", 1),
        action=f"{HOME}/{delivery_id}/give-up",
        back=f"{HOME}/{delivery_id}",
        about=((_("Destination"), found.destination),),
    )
    return page(request, by, view)


@router.post(f"{HOME}/{{delivery_id}}/give-up")
def give_up(act: SteerAct, work: InWork, delivery_id: RowId) -> Response:
    """Give a delivery up."""
    work.deliveries.give_up(act.by, delivery_id)
    return redirect(f"{HOME}/{delivery_id}", "delivery-given-up")


def newest_of(
    work: UnitOfWork, study_instance_uid: str, series_instance_uid: str = ""
) -> Page[RoutedDelivery]:
    """Return the newest deliveries of a study, or of a series with those of its whole study."""
    criteria = DeliveryCriteria(
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        whole_study=True,
    )
    return work.deliveries.page(criteria, oldest_first=False, cursor=None, limit=NEWEST)


def _list(work: UnitOfWork, asked: dict[str, str], cursor: str | None) -> DeliveryListView:
    state = asked["state"]
    states: tuple[str, ...] = (state,) if state in STATES else EVERY_STATE
    if state in STATE_GROUPS:
        states = STATE_GROUPS[state][0]
    criteria = DeliveryCriteria(
        states,
        asked["destination"],
        asked["study_instance_uid"].strip(),
        asked["series_instance_uid"].strip(),
    )
    found = work.deliveries.page(
        criteria, oldest_first=asked["order"] == "oldest", cursor=cursor, limit=ON_A_PAGE
    )
    return DeliveryListView(found, asked, _names(work))


def _names(work: UnitOfWork) -> list[str]:
    try:
        return [one.name for one in work.routing.current().document.destinations]
    except Conflict:
        return []


def _ticked(form: CheckedForm) -> list[int]:
    """Return the numbers of the ticked deliveries.

    Raises:
        Conflict: none is ticked, or too many are.
    """
    ids = list(dict.fromkeys(one for one in whole_numbers(form.texts("delivery")) if one > 0))
    if not ids:
        raise Conflict(message("No delivery is selected. Tick the deliveries first."))
    if len(ids) > MAX_STEERED:
        raise Conflict(
            message("At most %(most)s deliveries can be selected at a time.", most=MAX_STEERED)
        )
    return ids


def _back(form: CheckedForm, otherwise: str = HOME) -> str:
    """Return the page that the visitor came from, and no other place."""
    return own_path(form.text("back"), within=("/routing", "/studies")) or otherwise


def _answer(
    request: Request, act: SubmittedForm, title: str, done: SteeredDeliveries, notice: str
) -> Response:
    """Lead back if it was done with each, else say with which it was not."""
    if not done.refused:
        return redirect(_back(act.form), notice)
    view = SteeredView(title, _back(act.form), done)
    return page(request, act.by, view, status=HTTPStatus.CONFLICT)
