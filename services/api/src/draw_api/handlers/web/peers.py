"""AE titles that may associate, rejected peers, and explanations."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import (
    FormField,
    error_of,
    fields_of,
    fingerprint,
    require_unchanged,
    validate_form,
    values_of,
)
from draw_api.handlers.web.languages import N_, _
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import (
    ON_A_PAGE,
    Cursor,
    RowId,
    SearchText,
    long_before,
    moment_of,
)
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.paging import Page
from draw_api.models.peers import (
    AllowedAeTitle,
    AllowedAeTitleSettings,
    Caller,
    Explanation,
    PeerToAllow,
    Proposal,
    RejectedPeer,
)
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.contracts.server_config import SecurityConfig
from draw_shared.dicom.network.rights import EVERY_RIGHT, Right

router = APIRouter(include_in_schema=False)

MayReadPeers = Annotated[Principal, page_requires(Permission.READ_PEERS)]
MayManagePeers = Annotated[Principal, page_requires(Permission.MANAGE_PEERS)]
ManagePeersAct = Annotated[SubmittedForm, form_requires(Permission.MANAGE_PEERS)]

REJECTED_DAYS: Final = 7
MAX_REJECTED: Final = 50
ADDRESS: Final = "/ae-titles"
NEW: Final = f"{ADDRESS}/new"
SIMPLE_FIELDS: Final = (
    "ae_title",
    "description",
    "expected_ip",
    "move_destinations",
    "certificates",
    "settle_time_seconds",
    "active",
)
LABELS: Final = {"settle_time_seconds": N_("Settle time (s)")}
SERVICES: Final[Mapping[Right, str]] = {
    Right.ECHO: N_("verify the connection (C-ECHO)"),
    Right.STORE: N_("send images (C-STORE)"),
    Right.QUERY: N_("query (C-FIND)"),
    Right.RETRIEVE: N_("retrieve over its own association (C-GET)"),
    Right.MOVE: N_("have images sent to remote nodes (C-MOVE)"),
}


@dataclass(frozen=True, slots=True)
class PeersView(View):
    """The allowed AE titles, and the rejected peers."""

    template: ClassVar[str] = "ae-titles/list.html.jinja"

    allowed: Page[AllowedAeTitle]
    rejected: Page[RejectedPeer]
    security: SecurityConfig
    loopback_reads: bool
    """Whether peers on a receiver's own machine may read without being on the list."""
    others: frozenset[Right]
    """Rights of AE titles that are not on the list."""
    every_right: ClassVar[tuple[Right, ...]] = EVERY_RIGHT
    callers: list[Caller]
    """Who associated lately."""
    last_seen: Mapping[str, datetime]
    days: int = REJECTED_DAYS

    @property
    def locked_out(self) -> list[Caller]:
        """Those whom the check of calling AE titles would reject, if it were switched on."""
        if self.security.validate_calling_ae:
            return []
        return [caller for caller in self.callers if caller.would_be_rejected]

    @property
    def objects(self) -> Mapping[str, int]:
        """The images that each AE title stored in the last 24 hours."""
        found: Counter[str] = Counter()
        for caller in self.callers:
            found[caller.calling_ae] += caller.objects_in_24_hours
        return found


@dataclass(frozen=True, slots=True)
class RejectedView(View):
    """A page of rejected peers."""

    template: ClassVar[str] = "ae-titles/rejected.html.jinja"

    rejected: Page[RejectedPeer]
    since: datetime | None
    """The beginning of what is shown; None: the last days."""
    until: datetime | None
    peer: str
    """The AE title or address whose rejections are shown; empty: those of all."""
    days: int = REJECTED_DAYS


@dataclass(frozen=True, slots=True)
class AeTitleView(View):
    """The form of one AE title."""

    template: ClassVar[str] = "ae-titles/form.html.jinja"

    fields: list[FormField]
    rights: frozenset[str]
    """The ticked rights."""
    action: str
    title: str
    problem: str = ""
    rights_error: str = ""
    opened: str = ""
    """What the form was filled in with; empty for a new AE title."""
    every_right: ClassVar[tuple[Right, ...]] = EVERY_RIGHT
    services: ClassVar[Mapping[Right, str]] = SERVICES


@dataclass(frozen=True, slots=True)
class SimulatorView(View):
    """The decision about a proposal, rule by rule."""

    template: ClassVar[str] = "ae-titles/simulator.html.jinja"

    fields: list[FormField]
    explanation: Explanation | None


@router.get("/ae-titles")
def peers(request: Request, by: MayReadPeers, work: InWork, cursor: Cursor = None) -> Response:
    """List the allowed AE titles, and recently rejected peers."""
    allowed = work.peers.allowed(cursor, ON_A_PAGE)
    view = PeersView(
        allowed=allowed,
        rejected=work.peers.rejected(_days_before(None), None, None, MAX_REJECTED),
        security=work.configuration.current().document.security,
        loopback_reads=work.peers.loopback_reads(),
        others=work.peers.rights_of_others(),
        callers=work.peers.callers(),
        last_seen=work.peers.last_seen([one.ae_title for one in allowed.items]),
    )
    return page(request, by, view)


@router.get("/ae-titles/rejected")
def rejected(
    request: Request,
    by: MayReadPeers,
    work: InWork,
    since: SearchText = "",
    until: SearchText = "",
    peer: SearchText = "",
    cursor: Cursor = None,
) -> Response:
    """List the peers that were rejected lately, or in a time, last seen first."""
    begin, end, of_peer = moment_of(since), moment_of(until), peer.strip()
    found = work.peers.rejected(begin or _days_before(end), end, cursor, ON_A_PAGE, peer=of_peer)
    return page(request, by, RejectedView(found, begin, end, of_peer))


def _days_before(end: datetime | None) -> datetime:
    """Return when the last days before the end, or before now, begin."""
    return long_before(end or datetime.now(UTC), timedelta(days=REJECTED_DAYS))


@router.get("/ae-titles/new")
def new(request: Request, by: MayManagePeers) -> Response:
    """Show the form for a new AE title."""
    values: dict[str, object] = {"active": True, "rights": EVERY_RIGHT}
    return page(request, by, _form(NEW, _("Allow an AE title"), values))


@router.post("/ae-titles/new")
def add(request: Request, act: ManagePeersAct, work: InWork) -> Response:
    """Allow an AE title."""
    values = _values(act.form)
    try:
        work.peers.add(act.by, validate_form(AllowedAeTitleSettings, values))
    except (Invalid, Conflict) as error:
        view = _form(NEW, _("Allow an AE title"), values, error)
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(ADDRESS, "title-added")


@router.get("/ae-titles/simulator")
def simulator(
    request: Request,
    by: MayReadPeers,
    work: InWork,
    calling_ae: SearchText = "",
    address: SearchText = "",
    called_ae: SearchText = "",
    sop_class_uid: SearchText = "",
    certificate: SearchText = "",
) -> Response:
    """Show whether a proposal would be accepted, and why."""
    values = {
        "calling_ae": calling_ae.strip(),
        "address": address.strip(),
        "called_ae": called_ae.strip(),
        "sop_class_uid": sop_class_uid.strip() or None,
        "certificate": certificate.strip(),
    }
    return page(request, by, _simulate(work, values, asked=bool(calling_ae or address)))


@router.post("/ae-titles/allow")
def allow(act: ManagePeersAct, work: InWork) -> Response:
    """Allow a rejected peer."""
    values = {
        "calling_ae": act.form.text("calling_ae"),
        "address": act.form.text("address"),
        "only_from_address": act.form.has("only_from_address"),
        "rights": act.form.texts("rights"),
        "move_destination": act.form.text("move_destination"),
    }
    work.peers.allow(act.by, validate_form(PeerToAllow, values))
    return redirect(ADDRESS, "peer-allowed")


@router.get("/ae-titles/{row_id}")
def edit(request: Request, by: MayManagePeers, work: InWork, row_id: RowId) -> Response:
    """Show the form of an AE title."""
    found = work.peers.one(row_id)
    opened = fingerprint(AllowedAeTitleSettings, found)
    view = _form(f"{ADDRESS}/{row_id}", found.ae_title, found.model_dump(), opened=opened)
    return page(request, by, view)


@router.post("/ae-titles/{row_id}")
def save(request: Request, act: ManagePeersAct, work: InWork, row_id: RowId) -> Response:
    """Replace all settings of an AE title."""
    values = _values(act.form)
    action, opened = NEW, ""
    try:
        opened = fingerprint(AllowedAeTitleSettings, work.peers.one(row_id))
        action = f"{ADDRESS}/{row_id}"
        require_unchanged(act.form, opened)
        work.peers.replace(act.by, row_id, validate_form(AllowedAeTitleSettings, values))
    except (Invalid, Conflict, NotFound) as error:
        view = _form(action, str(values.get("ae_title", "")), values, error, opened=opened)
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(ADDRESS, "title-saved")


@router.get("/ae-titles/{row_id}/remove")
def ask_remove(request: Request, by: MayManagePeers, work: InWork, row_id: RowId) -> Response:
    """Ask for confirmation before an AE title is removed from the list."""
    found = work.peers.one(row_id)
    view = ConfirmView(
        title=_("Take %(ae_title)s off the list?", ae_title=found.ae_title),
        text=_(
            "It can then no longer query and retrieve, and, while calling AE titles are validated,"
            " no longer associate."
        ),
        button=_("Take it off the list"),
        action=f"{ADDRESS}/{row_id}/remove",
        back=ADDRESS,
    )
    return page(request, by, view)


@router.post("/ae-titles/{row_id}/remove")
def remove(act: ManagePeersAct, work: InWork, row_id: RowId) -> Response:
    """Remove an AE title from the list."""
    work.peers.remove(act.by, row_id)
    return redirect(ADDRESS, "title-removed")


def _form(
    action: str,
    title: str,
    values: dict[str, object],
    error: Invalid | Conflict | NotFound | None = None,
    *,
    opened: str = "",
) -> AeTitleView:
    problems: tuple[FieldProblem, ...] = error.problems if isinstance(error, Invalid) else ()
    fields = fields_of(AllowedAeTitleSettings, values, problems, only=SIMPLE_FIELDS, labels=LABELS)
    return AeTitleView(
        fields,
        frozenset(str(right) for right in _texts(values["rights"])),
        action,
        title,
        str(error) if isinstance(error, Conflict | NotFound) else "",
        error_of("rights", problems),
        opened,
    )


def _texts(found: object) -> Sequence[object]:
    return found if isinstance(found, list | tuple) else ()


def _values(form: CheckedForm) -> dict[str, object]:
    """Return the values of the form of an AE title."""
    return values_of(AllowedAeTitleSettings, form) | {"rights": form.texts("rights")}


def _simulate(work: UnitOfWork, values: dict[str, str | None], *, asked: bool) -> SimulatorView:
    labels = {"sop_class_uid": _("SOP class UID"), "address": _("From address")}
    names = ("calling_ae", "address", "called_ae", "sop_class_uid", "certificate")
    problems: tuple[FieldProblem, ...] = ()
    explanation = None
    if asked:
        try:
            explanation = work.peers.explain(validate_form(Proposal, values))
        except Invalid as error:
            problems = error.problems
    return SimulatorView(
        fields_of(Proposal, values, problems, only=names, labels=labels), explanation
    )
