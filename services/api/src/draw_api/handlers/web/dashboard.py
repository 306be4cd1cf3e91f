"""The dashboard: what needs somebody, with the repair beside it, and how the suite is doing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.jobs import RETRIED
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page
from draw_api.handlers.web.visitor import page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.activity import LastDay, LastReceived, Throughput
from draw_api.models.archive import Study
from draw_api.models.conflicts import ConflictCriteria, ObjectConflict
from draw_api.models.control import ServiceState
from draw_api.models.deliveries import FailedDeliveries
from draw_api.models.destinations import DestinationSummary
from draw_api.models.jobs import Job
from draw_api.models.peers import RejectedPeer
from draw_api.models.status import DicomPort, Replica, Status
from draw_api.models.storage import Forecast
from draw_api.models.transactions import Transaction, TransactionCriteria
from draw_api.services.jobs import HASTENED
from draw_api.services.status import GONE
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.contracts.replicas import ENDED
from draw_shared.contracts.server_config import NetworkConfig
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadStatus = Annotated[Principal, page_requires(Permission.READ_STATUS)]

DEAD: Final = (".dead", ".unroutable")
NEEDED: Final = 5
"""Rejected peers, and jobs, of which the newest are shown."""
MAX_REJECTED: Final = 100
"""Rejected peers that are counted."""
REJECTED: Final = timedelta(days=1)
NAMED_STUDIES: Final = 3
"""Studies with conflicts that are shown one by one, if there are no more."""
NEWEST_CONFLICTS: Final = 50
NEEDS_RETRY: Final = ("failed", "partial", "unproved", "waiting")
RECENT: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ConflictingStudy:
    """A study with images in conflict."""

    study_instance_uid: str
    study: Study | None
    """None: nothing of it is in the index."""
    reason: str
    more: bool
    """Whether it has conflicts for other reasons."""


@dataclass(frozen=True, slots=True)
class DashboardView(View):
    """What an operator looks at first."""

    template: ClassVar[str] = "dashboard/detail.html.jinja"
    fragment: ClassVar[str] = "dashboard/_live.html.jinja"

    status: Status
    forecast: Forecast
    services: list[ServiceState]
    network: NetworkConfig
    day: LastDay
    last_received: Sequence[LastReceived]
    jobs: Sequence[Job]
    """The newest of those that have failed or wait, of the last days."""
    more_jobs: int
    jobs_of_state: Mapping[str, int]
    """How many there are altogether, by state."""
    rejected: list[RejectedPeer]
    more_rejected: int
    many_rejected: bool
    """Whether there are more rejected peers than are counted."""
    conflicts: list[ConflictingStudy]
    """Empty if there are none, or more than are shown one by one."""
    many_conflicts: bool
    last_stored: Transaction | None
    disabled_webhooks: int
    failed_deliveries: Sequence[FailedDeliveries]
    held_destinations: Sequence[DestinationSummary]
    retried: ClassVar[frozenset[str]] = RETRIED
    hastened: ClassVar[tuple[str, ...]] = HASTENED

    @property
    def silent(self) -> list[tuple[str, str]]:
        """The replicas that have gone without being told to, by service and name; "": none."""
        found = [
            (str(service.service), replica.replica)
            for service in self.services
            for replica in service.replicas
            if replica.state == GONE
        ]
        return [*found, *((str(s.service), "") for s in self.services if not s.replicas)]

    @property
    def calm(self) -> bool:
        """Whether nothing needs anybody."""
        return not (
            self.jobs
            or self.rejected
            or self.conflicts
            or self.many_conflicts
            or self.dead
            or self.disabled_webhooks
            or self.failed_deliveries
            or self.held_destinations
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
    stored = TransactionCriteria(
        kinds=(TransactionKind.C_STORE,), outcomes=(TransactionOutcome.SUCCESS,)
    )
    now = datetime.now(UTC)
    since = now - RECENT
    jobs = work.jobs.needy(NEEDS_RETRY, since, NEEDED)
    # Counting takes longer, and is needed only when not all are shown.
    numbers = work.jobs.numbers(NEEDS_RETRY, since) if len(jobs) == NEEDED else {}
    rejected = work.peers.rejected(now - REJECTED, None, None, MAX_REJECTED)
    conflicts = work.conflicts.conflicts(ConflictCriteria(), None, NEWEST_CONFLICTS)
    conflicting = _conflicting_studies(work, conflicts.items)
    few = conflicts.next_cursor is None and len(conflicting) <= NAMED_STUDIES
    return DashboardView(
        status=work.status.status(),
        forecast=work.activity.forecast(),
        services=work.control.services(),
        network=work.configuration.current().document.network,
        day=work.activity.last_day(),
        last_received=work.activity.last_received(),
        jobs=jobs,
        more_jobs=max(0, sum(numbers.values()) - NEEDED),
        jobs_of_state=numbers,
        # In an order that stays while they come again: nothing moves below a pointer.
        rejected=sorted(rejected.items[:NEEDED], key=lambda peer: peer.first_seen),
        more_rejected=max(0, len(rejected.items) - NEEDED),
        many_rejected=rejected.next_cursor is not None,
        conflicts=conflicting if few else [],
        many_conflicts=not few,
        last_stored=next(iter(work.transactions.transactions(stored, None, 1).items), None),
        disabled_webhooks=work.webhooks.disabled(),
        failed_deliveries=work.deliveries.failed(since),
        held_destinations=_held(work),
    )


def _held(work: UnitOfWork) -> list[DestinationSummary]:
    """Return the destinations that are held; none if the rules cannot be read."""
    try:
        return work.destinations.held()
    except Conflict:
        return []


def _conflicting_studies(
    work: UnitOfWork, conflicts: Sequence[ObjectConflict]
) -> list[ConflictingStudy]:
    """Return the studies of conflicts, the one with the newest first; some more than are shown."""
    reasons: dict[str, list[str]] = {}
    for found in conflicts:
        uid = found.current_study_instance_uid or found.study_instance_uid
        reasons.setdefault(uid, []).append(found.reason)
    return [
        ConflictingStudy(uid, _study(work, uid), of_it[0], more=len(set(of_it)) > 1)
        for uid, of_it in list(reasons.items())[: NAMED_STUDIES + 1]
    ]


def _study(work: UnitOfWork, study_instance_uid: str) -> Study | None:
    try:
        return work.archive.study(study_instance_uid)
    except NotFound:
        return None


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
