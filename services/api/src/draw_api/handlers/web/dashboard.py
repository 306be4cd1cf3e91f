"""The dashboard: what needs somebody, with the repair beside it, and how the suite is doing."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.turns import RequestCost, costs
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page
from draw_api.handlers.web.visitor import page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.access import Principal
from draw_api.models.activity import Throughput
from draw_api.models.conflicts import ConflictCriteria
from draw_api.models.control import ServiceState
from draw_api.models.jobs import Job
from draw_api.models.peers import RejectedPeer
from draw_api.models.permissions import Permission
from draw_api.models.status import DicomPort, Replica, Status
from draw_api.models.storage import Forecast
from draw_api.models.transactions import Transaction, TransactionCriteria
from draw_api.services.status import GONE
from draw_shared.contracts.replicas import ENDED
from draw_shared.contracts.server_config import NetworkConfig
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome

router = APIRouter(include_in_schema=False)

MayReadStatus = Annotated[Principal, page_requires(Permission.READ_STATUS)]

SHOWN: Final = 8
DEAD: Final = (".dead", ".unroutable")
DICOM: Final = tuple(kind for kind in TransactionKind if kind is not TransactionKind.MANAGEMENT)
NEEDED: Final = 5
"""Rejected peers, and jobs in each state, of which the first are shown."""
REJECTED_DAYS: Final = 1
NEEDS_RETRY: Final = ("failed", "partial", "unproved", "waiting")
FETCHING: Final = ("retrieve", "batch")
"""Kinds of jobs that can be retried with what they lack."""
RECENT: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DashboardView(View):
    """What an operator page_requires at first."""

    template: ClassVar[str] = "dashboard/detail.html.jinja"
    fragment: ClassVar[str] = "dashboard/_live.html.jinja"

    status: Status
    forecast: Forecast
    services: list[ServiceState]
    network: NetworkConfig
    recent: list[Transaction]
    jobs: list[Job]
    """Those that have failed or wait, of the last days."""
    rejected: list[RejectedPeer]
    conflicts: bool
    last_stored: Transaction | None
    disabled_webhooks: int
    retried: ClassVar[tuple[str, ...]] = FETCHING

    @property
    def silent(self) -> list[tuple[str, str]]:
        """The replicas that have gone without being told to, by service and name."""
        found = [
            (str(service.service), replica.replica)
            for service in self.services
            for replica in service.replicas
            if replica.state == GONE
        ]
        never = [(str(s.service), "no replica") for s in self.services if not s.replicas]
        return [*found, *never]

    @property
    def calm(self) -> bool:
        """Whether nothing needs anybody."""
        return not (
            self.jobs
            or self.rejected
            or self.conflicts
            or self.dead
            or self.disabled_webhooks
            or self.silent
            or self.unlike_configured
            or self.status.storage.refusing
        )

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
    stored = TransactionCriteria(
        kinds=(TransactionKind.C_STORE,), outcomes=(TransactionOutcome.SUCCESS,)
    )
    since = datetime.now(UTC) - RECENT
    jobs = [
        job
        for state in NEEDS_RETRY
        for job in work.jobs.jobs(state, None, None, NEEDED).items
        if job.created_at > since
    ]
    return DashboardView(
        status=work.status.status(),
        forecast=work.activity.forecast(),
        services=work.control.services(),
        network=work.configuration.current().document.network,
        recent=read(TransactionCriteria(kinds=DICOM), None, SHOWN).items,
        jobs=jobs,
        rejected=work.peers.rejected(REJECTED_DAYS, None, NEEDED).items,
        conflicts=bool(work.conflicts.conflicts(ConflictCriteria(), None, 1).items),
        last_stored=next(iter(read(stored, None, 1).items), None),
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
