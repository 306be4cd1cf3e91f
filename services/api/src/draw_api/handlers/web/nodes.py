"""Remote nodes: list with last test, form, test of the connection, probe, pause."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

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
from draw_api.handlers.web.languages import N_, _, said
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, RowId
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.devices import OwnData
from draw_api.models.jobs import UNDER_WAY, Job, NewEcho, NewProbe
from draw_api.models.nodes import NewPin, Node, NodeSettings
from draw_api.models.paging import Page
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadNodes = Annotated[Principal, page_requires(Permission.READ_NODES)]
MayManageNodes = Annotated[Principal, page_requires(Permission.MANAGE_NODES)]
ManageNodesAct = Annotated[SubmittedForm, form_requires(Permission.MANAGE_NODES)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

LATELY: Final = 10
LIVE_SECONDS: Final = 1.0
WINDOW_LINE: Final = re.compile(
    r"^([a-z, -]+?) +(\d\d:\d\d) *(?:-|to) *(\d\d:\d\d)$", re.IGNORECASE
)
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FIRST: Final = (
    "name", "ae_title", "host", "port", "supports_find", "supports_move", "supports_get",
    "query_model",
)  # fmt: skip
FURTHER: Final = (
    "calling_ae", "move_destination", "stores_from", "timeout_seconds", "max_pdu_bytes",
    "max_associations", "max_bytes_per_second", "tls", "paused", "active",
)  # fmt: skip
LABELS: Final = {
    "ae_title": N_("AE title"),
    "supports_find": N_("Answers C-FIND"),
    "supports_move": N_("Offers C-MOVE"),
    "supports_get": N_("Offers C-GET"),
    "calling_ae": N_("Our AE title there"),
    "tls": N_("Speak TLS"),
    "active": N_("In use"),
}


@dataclass(frozen=True, slots=True)
class NodeListView(View):
    """A page of the nodes."""

    template: ClassVar[str] = "nodes/list.html.jinja"
    fragment: ClassVar[str] = "nodes/_list.html.jinja"

    found: Page[Node]


@dataclass(frozen=True, slots=True)
class NodeView(View):
    """One node with its findings."""

    template: ClassVar[str] = "nodes/detail.html.jinja"
    fragment: ClassVar[str] = "nodes/_live.html.jinja"

    node: Node
    jobs: list[Job]
    own: OwnData
    """What the other side must know of us."""

    @property
    def testing(self) -> bool:
        """Whether a test is on its way."""
        return any(job.kind == "echo" and job.state in UNDER_WAY for job in self.jobs)


@dataclass(frozen=True, slots=True)
class NodeFormView(View):
    """The form of a node."""

    template: ClassVar[str] = "nodes/form.html.jinja"

    title: str
    action: str
    back: str
    first: list[FormField]
    further: list[FormField]
    problem: str = ""
    opened: str = ""
    """What the form was filled in with; empty for a new node."""


@router.get("/nodes")
def nodes(request: Request, by: MayReadNodes, work: InWork, cursor: Cursor = None) -> Response:
    """List the remote nodes."""
    return page(request, by, _look_at_list(work, cursor))


@router.get("/live/nodes", dependencies=[costs(RequestCost.STREAMS)])
def live_list(request: Request, _by: MayReadNodes, cursor: Cursor = None) -> StreamingResponse:
    """Stream the states and tests of the nodes of a page."""
    return stream(
        request, lambda work: _look_at_list(work, cursor), "/nodes", Permission.READ_NODES
    )


@router.post("/nodes/test")
def test_all(act: RunJobsAct, work: InWork) -> Response:
    """Send a C-ECHO to each node in use."""
    work.jobs.test_all(act.by)
    return redirect("/nodes", "nodes-tested")


@router.get("/nodes/new")
def new(request: Request, by: MayManageNodes) -> Response:
    """Show the form for a new node."""
    return page(request, by, _form(_("Add a remote node"), "/nodes/new", "/nodes", {}))


@router.post("/nodes/new")
def add(request: Request, act: ManageNodesAct, work: InWork) -> Response:
    """Add a node."""
    values = _values(act.form.text("windows"), values_of(NodeSettings, act.form))
    try:
        node = work.nodes.add(act.by, validate_form(NodeSettings, values))
    except (Invalid, Conflict) as error:
        view = _form(_("Add a remote node"), "/nodes/new", "/nodes", values, error)
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(f"/nodes/{node.id}", "node-added")


@router.get("/nodes/{node_id}")
def node(request: Request, by: MayReadNodes, work: InWork, node_id: RowId) -> Response:
    """Show one node."""
    return page(request, by, _look(request, work, node_id))


@router.get("/live/nodes/{node_id}", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _by: MayReadNodes, node_id: RowId) -> StreamingResponse:
    """Stream the findings of a node."""
    return stream(
        request,
        lambda work: _look(request, work, node_id),
        f"/nodes/{node_id}",
        Permission.READ_NODES,
        interval=LIVE_SECONDS,
    )


@router.get("/nodes/{node_id}/edit")
def edit(request: Request, by: MayManageNodes, work: InWork, node_id: RowId) -> Response:
    """Show the form of a node."""
    found = work.nodes.node(node_id)
    here = f"/nodes/{node_id}"
    opened = fingerprint(NodeSettings, found)
    view = _form(found.name, f"{here}/edit", here, found.model_dump(), opened=opened)
    return page(request, by, view)


@router.post("/nodes/{node_id}/edit")
def save(request: Request, act: ManageNodesAct, work: InWork, node_id: RowId) -> Response:
    """Replace all settings of a node."""
    here = f"/nodes/{node_id}"
    values = _values(act.form.text("windows"), values_of(NodeSettings, act.form))
    action, back, opened = "/nodes/new", "/nodes", ""
    try:
        opened = fingerprint(NodeSettings, work.nodes.node(node_id))
        action, back = f"{here}/edit", here
        require_unchanged(act.form, opened)
        work.nodes.replace(act.by, node_id, validate_form(NodeSettings, values))
    except (Invalid, Conflict, NotFound) as error:
        title = str(values.get("name", ""))
        view = _form(title, action, back, values, error, opened=opened)
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(here, "node-saved")


@router.post("/nodes/{node_id}/test")
def test(act: RunJobsAct, work: InWork, node_id: RowId) -> Response:
    """Send a C-ECHO."""
    work.jobs.create(act.by, NewEcho(kind="echo", node_id=node_id, priority=1))
    return redirect(f"/nodes/{node_id}", "node-tested")


@router.post("/nodes/{node_id}/probe")
def probe(act: RunJobsAct, work: InWork, node_id: RowId) -> Response:
    """Find out which services the node accepts."""
    work.jobs.create(act.by, NewProbe(kind="probe", node_id=node_id, priority=1))
    return redirect(f"/nodes/{node_id}", "node-tested")


@router.post("/nodes/{node_id}/pause")
def pause(act: ManageNodesAct, work: InWork, node_id: RowId) -> Response:
    """Make the node's jobs wait, or continue."""
    paused = act.form.text("paused") == "true"
    work.nodes.pause(act.by, node_id, paused=paused)
    return redirect(f"/nodes/{node_id}", "node-paused" if paused else "node-resumed")


@router.post("/nodes/{node_id}/pin")
def pin(act: ManageNodesAct, work: InWork, node_id: RowId) -> Response:
    """Trust the node from now on by the certificate that it showed."""
    wanted = validate_form(NewPin, {"fingerprint": act.form.text("fingerprint")})
    work.nodes.pin(act.by, node_id, wanted.fingerprint)
    return redirect(f"/nodes/{node_id}", "node-pinned")


@router.post("/nodes/{node_id}/forget-limit")
def forget_limit(act: ManageNodesAct, work: InWork, node_id: RowId) -> Response:
    """Forget the node's limit of matches, so that the next query finds it again."""
    work.nodes.forget_find_limit(act.by, node_id)
    return redirect(f"/nodes/{node_id}", "node-limit-forgotten")


@router.get("/nodes/{node_id}/remove")
def ask_remove(request: Request, by: MayManageNodes, work: InWork, node_id: RowId) -> Response:
    """Ask for confirmation before a node is deleted."""
    found = work.nodes.node(node_id)
    view = ConfirmView(
        title=_("Remove %(name)s?", name=found.name),
        text=_("Its finished jobs stay; queries of it lose their results."),
        button=_("Remove the node"),
        action=f"/nodes/{node_id}/remove",
        back=f"/nodes/{node_id}",
    )
    return page(request, by, view)


@router.post("/nodes/{node_id}/remove")
def remove(act: ManageNodesAct, work: InWork, node_id: RowId) -> Response:
    """Delete a node."""
    work.nodes.remove(act.by, node_id)
    return redirect("/nodes", "node-removed")


def _look_at_list(work: UnitOfWork, cursor: str | None) -> NodeListView:
    return NodeListView(work.nodes.nodes(cursor, ON_A_PAGE))


def _look(request: Request, work: UnitOfWork, node_id: int) -> NodeView:
    return NodeView(
        node=work.nodes.node(node_id),
        jobs=work.jobs.jobs(None, node_id, None, LATELY).items,
        own=work.devices.own_data(request.url.hostname or ""),
    )


def _values(windows: str, values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "windows": [window_of(line) for line in windows.splitlines() if line.strip()]}


def window_of(line: str) -> dict[str, Any]:
    """Return the weekly window in a line such as `mon-fri 22:00-06:00`; no days if invalid."""
    found = WINDOW_LINE.match(line.strip())
    if found is None:
        return {"days": [], "start": line.strip(), "end": ""}
    days: list[str] = []
    for part in found[1].lower().replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first in DAYS and (last or first) in DAYS:
            begin, end = DAYS.index(first), DAYS.index(last or first)
            span = DAYS[begin : end + 1] if begin <= end else DAYS[begin:] + DAYS[: end + 1]
            days += [day for day in span if day not in days]
    return {"days": days, "start": found[2], "end": found[3]}


def window_line(window: dict[str, Any]) -> str:
    """Return the line that `window_of` reads."""
    days = ",".join(window["days"])
    return f"{days} {window['start']}-{window['end']}" if window["end"] else str(window["start"])


def _form(
    title: str,
    action: str,
    back: str,
    values: dict[str, Any],
    error: Invalid | Conflict | NotFound | None = None,
    *,
    opened: str = "",
) -> NodeFormView:
    problems: tuple[FieldProblem, ...] = error.problems if isinstance(error, Invalid) else ()
    windows = FormField(
        name="windows",
        label=_("Jobs run only within"),
        kind="lines",
        value="\n".join(window_line(window) for window in values.get("windows", ())),
        help=_("Such as mon-fri 22:00-06:00, one on a line; empty: always"),
        error=_("not a line such as mon-fri 22:00-06:00") if error_of("windows", problems) else "",
    )
    pin = FormField(
        name="tls_fingerprint",
        label=_("Pinned certificate"),
        kind="lines",
        value=str(values.get("tls_fingerprint", "")),
        help=_(
            "SHA-256 fingerprint, or the certificate in PEM; it is then trusted whoever signed it"
            " and whatever it names; empty: signed by an authority, for the host"
        ),
        error=error_of("tls_fingerprint", problems),
    )
    return NodeFormView(
        title=title,
        action=action,
        back=back,
        first=fields_of(NodeSettings, values, problems, only=FIRST, labels=LABELS),
        further=[
            *fields_of(NodeSettings, values, problems, only=FURTHER, labels=LABELS),
            pin,
            windows,
        ],
        problem=said(str(error)) if isinstance(error, Conflict | NotFound) else "",
        opened=opened,
    )
