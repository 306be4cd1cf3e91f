"""Connect a device: what it must know of us, its call, its node, the test back.

All state is in the address, so a page that is loaded again, or an API that restarts, loses none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.forms import FormField, error_of, fields_of, validate_form
from draw_api.handlers.web.languages import N_, said
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, address, page, redirect
from draw_api.handlers.web.parameters import SearchText, moment_of
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.devices import DeviceCall, OwnData
from draw_api.models.jobs import UNDER_WAY, NewEcho
from draw_api.models.nodes import Node, NodeSettings
from draw_api.models.peers import PeerToAllow
from draw_api.models.texts import whole_number
from draw_api.services.jobs import TEST_PRIORITY
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadPeers = Annotated[Principal, page_requires(Permission.READ_PEERS)]
ManagePeersAct = Annotated[SubmittedForm, form_requires(Permission.MANAGE_PEERS)]
ManageNodesAct = Annotated[SubmittedForm, form_requires(Permission.MANAGE_NODES)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

PATH: Final = "/devices/connect"
Step = Literal["call", "node", "test"]
STEPS: Final[dict[Step, str]] = {
    "call": N_("It calls us"),
    "node": N_("Add it as a remote node"),
    "test": N_("We call it"),
}
JUST_NOW: Final = timedelta(minutes=1)
USUAL_PORTS: Final = (104, 11112, 4242)
"""The registered port, that of many toolkits and that of Orthanc."""
LIVE_SECONDS: Final = 1.0
OTHER: Final = "other"
FIELDS: Final = ("name", "ae_title", "host")
LABELS: Final = {"ae_title": N_("AE title"), "host": N_("Address")}


@dataclass(frozen=True, slots=True)
class ConnectView(View):
    """One step of connecting a device."""

    template: ClassVar[str] = "devices/connect.html.jinja"
    fragment: ClassVar[str] = "devices/_live.html.jinja"
    steps: ClassVar[dict[Step, str]] = STEPS
    usual_ports: ClassVar[tuple[int, ...]] = USUAL_PORTS

    step: Step
    since: datetime
    ae_title: str
    """The chosen AE title; empty: any."""
    address: str
    """The chosen address; empty: any."""
    own: OwnData
    calls: Sequence[DeviceCall] = ()
    fields: Sequence[FormField] = ()
    port: str = ""
    port_error: str = ""
    tls: bool = False
    problem: str = ""
    known: Sequence[Node] = ()
    """Remote nodes that have the AE title already."""
    node: Node | None = None
    testing: bool = False

    @property
    def here(self) -> str:
        """The address of this page."""
        return self.at(self.step)

    @property
    def live(self) -> str:
        """The address of the stream of this page."""
        return f"/live{self.here}"

    def at(self, step: str, ae_title: str | None = None, peer: str | None = None) -> str:
        """Return the address of a step, for this device or another."""
        return address(
            PATH,
            step=step,
            since=self.since.isoformat(),
            ae_title=self.ae_title if ae_title is None else ae_title,
            address=self.address if peer is None else peer,
            node=self.node.id if self.node else None,
        )

    def chooses(self, call: DeviceCall) -> str:
        """Return the address of the next step for a peer that has called."""
        return self.at("node", call.calling_ae or "", call.peer_address)


@dataclass(frozen=True, slots=True)
class ConnectState:
    """The state in the address of the page."""

    request: Request
    step: Step
    since: datetime
    ae_title: str
    address: str
    node: int | None

    def look(self, work: UnitOfWork) -> ConnectView:
        """Return the view of this step as it is now."""
        node = _node(work, self.node)
        jobs = work.jobs.jobs(None, node.id, None, 1).items if node else []
        return ConnectView(
            step=self.step,
            since=self.since,
            ae_title=self.ae_title,
            address=self.address,
            own=work.devices.own_data(self.request.url.hostname or ""),
            calls=work.devices.calls(self.since, self.ae_title, self.address)
            if self.step == "call"
            else (),
            known=work.nodes.with_title(self.ae_title) if self.step != "call" else (),
            node=node,
            testing=any(job.kind == "echo" and job.state in UNDER_WAY for job in jobs),
        )


def _state(
    request: Request,
    step: str = "call",
    since: Annotated[str, Query(max_length=64)] = "",
    ae_title: SearchText = "",
    address: SearchText = "",
    node: Annotated[str, Query(max_length=19)] = "",
) -> ConnectState:
    known: Step = next((one for one in STEPS if one == step), "call")
    return ConnectState(
        request=request,
        step=known,
        since=_moment(since),
        ae_title=ae_title.strip(),
        address=address.strip(),
        node=_row_id(node),
    )


State = Annotated[ConnectState, Depends(_state)]


@router.get(PATH)
def connect(request: Request, by: MayReadPeers, work: InWork, state: State) -> Response:
    """Show one step."""
    view = state.look(work)
    if view.step == "node":
        view = _with_form(view, _suggested(view))
    return page(request, by, view)


@router.get(f"/live{PATH}", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _by: MayReadPeers, state: State) -> StreamingResponse:
    """Stream who calls, and how the test goes."""
    return stream(request, state.look, PATH, Permission.READ_PEERS, interval=LIVE_SECONDS)


@router.post(f"{PATH}/allow")
def allow(request: Request, act: ManagePeersAct, work: InWork) -> Response:
    """Allow a peer that was rejected, from its address only or from any."""
    values = {
        "calling_ae": act.form.text("calling_ae"),
        "address": act.form.text("peer_address"),
        "only_from_address": act.form.has("only_from_address"),
        "rights": act.form.texts("rights"),
        "move_destination": act.form.text("move_destination"),
    }
    work.peers.allow(act.by, validate_form(PeerToAllow, values))
    return redirect(_submitted(request, act.form).look(work).here, "peer-allowed")


@router.post(f"{PATH}/node")
def add(request: Request, act: ManageNodesAct, work: InWork) -> Response:
    """Add the device as a remote node, and call it at once."""
    state = _submitted(request, act.form)
    port = act.form.text("port_choice") or act.form.text("port")
    values = {name: act.form.text(name) for name in FIELDS}
    values |= {"port": port if port != OTHER else act.form.text("port")}
    try:
        wanted = validate_form(NodeSettings, values | {"tls": act.form.has("tls")})
        node = work.devices.connect(act.by, wanted)
    except (Invalid, Conflict) as error:
        view = _with_form(state.look(work), values, error, tls=act.form.has("tls"))
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(replace(state, step="test", node=node.id).look(work).here, "node-added")


@router.post(f"{PATH}/test")
def test(request: Request, act: RunJobsAct, work: InWork) -> Response:
    """Call the node again."""
    state = replace(_submitted(request, act.form), step="test")
    if state.node is not None:
        work.jobs.create(act.by, NewEcho(kind="echo", node_id=state.node, priority=TEST_PRIORITY))
    return redirect(state.look(work).here, "node-tested")


def _submitted(request: Request, form: CheckedForm) -> ConnectState:
    """Return the state that a form of the page has sent along."""
    return _state(
        request,
        form.text("step"),
        form.text("since"),
        form.text("filter_ae_title"),
        form.text("filter_address"),
        form.text("node"),
    )


def _moment(text: str) -> datetime:
    """Return the moment in an address; just now if there is none, or no valid one."""
    now = datetime.now(UTC)
    return moment_of(text) or (now - JUST_NOW).replace(microsecond=0)


def _row_id(text: str) -> int | None:
    number = whole_number(text)
    return number if number is not None and 1 <= number < 2**63 else None


def _node(work: UnitOfWork, node_id: int | None) -> Node | None:
    """Return the node of the address; None once it was removed."""
    try:
        return None if node_id is None else work.nodes.node(node_id)
    except NotFound:
        return None


def _suggested(view: ConnectView) -> dict[str, Any]:
    return {"name": view.ae_title, "ae_title": view.ae_title, "host": view.address}


def _with_form(
    view: ConnectView,
    values: dict[str, Any],
    error: Invalid | Conflict | None = None,
    *,
    tls: bool = False,
) -> ConnectView:
    problems: tuple[FieldProblem, ...] = error.problems if isinstance(error, Invalid) else ()
    return replace(
        view,
        step="node",
        fields=fields_of(NodeSettings, values, problems, only=FIELDS, labels=LABELS),
        port=str(values.get("port", "")),
        port_error=error_of("port", problems),
        tls=tls,
        problem=said(str(error)) if isinstance(error, Conflict) else "",
    )
