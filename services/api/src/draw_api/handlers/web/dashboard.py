"""The dashboard: the state of the suite, live, and orders to its services."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.turns import RequestCost, costs
from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, address, page, redirect
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.access import Principal
from draw_api.models.activity import Throughput
from draw_api.models.control import ControlAction, ServiceName, ServiceState
from draw_api.models.jobs import Job
from draw_api.models.permissions import Permission
from draw_api.models.status import DicomPort, Replica, Status
from draw_api.models.storage import Forecast
from draw_api.models.transactions import Transaction, TransactionCriteria
from draw_api.services.status import GONE
from draw_shared.contracts.replicas import ENDED
from draw_shared.contracts.server_config import NetworkConfig
from draw_shared.contracts.transaction import TransactionOutcome

router = APIRouter(include_in_schema=False)

MayReadStatus = Annotated[Principal, page_requires(Permission.READ_STATUS)]
MayControlServices = Annotated[Principal, page_requires(Permission.CONTROL_SERVICES)]
ControlServicesAct = Annotated[SubmittedForm, form_requires(Permission.CONTROL_SERVICES)]

SHOWN: Final = 8
DEAD: Final = (".dead", ".unroutable")
PROBLEMS: Final = (
    TransactionOutcome.FAILURE,
    TransactionOutcome.REJECTED,
)
CONSEQUENCES: Final = {
    ControlAction.START: "It takes up its work again.",
    ControlAction.STOP: "It finishes its current work and then does nothing until it is started"
    " again, also after a restart of the machine.",
    ControlAction.RESTART: "It finishes its current work, ends, and starts again.",
}


@dataclass(frozen=True, slots=True)
class DashboardView(View):
    """What an operator looks at first."""

    template: ClassVar[str] = "dashboard/detail.html.jinja"
    fragment: ClassVar[str] = "dashboard/_live.html.jinja"

    status: Status
    forecast: Forecast
    services: list[ServiceState]
    network: NetworkConfig
    recent: list[Transaction]
    problems: list[Transaction]
    jobs: list[Job]
    disabled_webhooks: int

    @property
    def queued(self) -> int:
        """Messages that wait for a consumer."""
        queues = self.status.backlog.queues
        return sum(depth for name, depth in queues.items() if not name.endswith(DEAD))

    @property
    def dead(self) -> int:
        """Messages that no consumer could process."""
        queues = self.status.backlog.queues
        return sum(depth for name, depth in queues.items() if name.endswith(DEAD))

    @property
    def receivers(self) -> list[Replica]:
        """The receivers that are alive."""
        return [
            r for r in self.status.replicas if r.service == "scp" and r.state not in {GONE, ENDED}
        ]

    @property
    def ports(self) -> list[tuple[DicomPort, int]]:
        """Where receivers actually accept associations, and how many receivers do so there."""
        return list(Counter(port for r in self.receivers for port in r.dicom_ports).items())

    @property
    def unlike_configured(self) -> list[Replica]:
        """The receivers that cannot follow their configuration; their last error says why."""
        return [receiver for receiver in self.receivers if receiver.last_error]


def _look(work: UnitOfWork) -> DashboardView:
    read = work.transactions.transactions
    return DashboardView(
        status=work.status.status(),
        forecast=work.activity.forecast(),
        services=work.control.services(),
        network=work.configuration.current().document.network,
        recent=read(TransactionCriteria(), None, SHOWN).items,
        problems=read(TransactionCriteria(outcomes=PROBLEMS), None, SHOWN).items,
        jobs=work.jobs.jobs(None, None, None, SHOWN).items,
        disabled_webhooks=work.webhooks.disabled(),
    )


@router.get("/")
def dashboard(request: Request, by: MayReadStatus, work: InWork) -> Response:
    """Show the state of the suite."""
    return page(request, by, _look(work))


@router.get("/live/dashboard", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _: MayReadStatus) -> StreamingResponse:
    """Stream the dashboard's changing part."""
    return stream(request, _look, "/", Permission.READ_STATUS)


@router.get("/live/throughput")
def throughput(_: MayReadStatus, work: InWork) -> Throughput:
    """Return the data of the chart."""
    return work.activity.throughput()


@router.get("/services/{service}/{action}")
def ask(
    request: Request,
    by: MayControlServices,
    service: ServiceName,
    action: ControlAction,
    replica: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Ask for confirmation before a service gets an order."""
    whom = replica or f"every replica of {service}"
    view = ConfirmView(
        title=f"{action.capitalize()} {whom}?",
        text=CONSEQUENCES[action],
        button=f"{action.capitalize()} {whom}",
        action=address(f"/services/{service}/{action}"),
        back="/",
        fields=(("replica", replica),) if replica else (),
        danger=action is not ControlAction.START,
    )
    return page(request, by, view)


@router.post("/services/{service}/{action}")
def tell(
    act: ControlServicesAct, work: InWork, service: ServiceName, action: ControlAction
) -> Response:
    """Order a service, or one replica of it, to start, stop or restart."""
    work.control.tell(act.by, service, action, act.form.text("replica") or None)
    return redirect("/", "told")
