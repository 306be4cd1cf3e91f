"""The use cases of one request; wake-ups for other processes leave after its commit."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from draw_api.services.access import AccessService
from draw_api.services.activity import ActivityService
from draw_api.services.archive import ArchiveService
from draw_api.services.batch_queries import BatchQueryService
from draw_api.services.config import ConfigurationService
from draw_api.services.conflicts import ConflictService
from draw_api.services.control import ControlService
from draw_api.services.dead_letters import DeadLetterService
from draw_api.services.deliveries import DeliveryService
from draw_api.services.destinations import DestinationService
from draw_api.services.devices import DeviceService
from draw_api.services.jobs import JobService
from draw_api.services.log_views import LogViewService
from draw_api.services.nodes import NodeService
from draw_api.services.objects import ObjectService
from draw_api.services.peers import PeerService
from draw_api.services.queries import QueryService
from draw_api.services.retrieves import RetrieveService
from draw_api.services.routing import RoutingService
from draw_api.services.routing_trials import ArchiveBatchService, RoutingReplayService
from draw_api.services.saved_queries import SavedQueryService
from draw_api.services.single_sign_on import ExternalAccessService
from draw_api.services.standing_queries import StandingQueryService
from draw_api.services.standing_runs import StandingRunService
from draw_api.services.statistics import StatisticsService
from draw_api.services.status import StatusService
from draw_api.services.storage import StorageService
from draw_api.services.transactions import TransactionService
from draw_api.services.users import UserService
from draw_api.services.webhooks import WebhookService
from draw_shared.access.authentication import Authentication
from draw_shared.web.work import transaction


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """The use cases of one request, all in the same transaction."""

    authentication: Authentication
    access: AccessService
    external_access: ExternalAccessService
    activity: ActivityService
    archive: ArchiveService
    batch_queries: BatchQueryService
    configuration: ConfigurationService
    conflicts: ConflictService
    control: ControlService
    dead_letters: DeadLetterService
    deliveries: DeliveryService
    destinations: DestinationService
    devices: DeviceService
    jobs: JobService
    log_views: LogViewService
    nodes: NodeService
    objects: ObjectService
    peers: PeerService
    queries: QueryService
    retrieves: RetrieveService
    routing: RoutingService
    routing_batches: ArchiveBatchService
    routing_replay: RoutingReplayService
    saved_queries: SavedQueryService
    standing_queries: StandingQueryService
    standing_runs: StandingRunService
    statistics: StatisticsService
    status: StatusService
    storage: StorageService
    transactions: TransactionService
    users: UserService
    webhooks: WebhookService


WorkFactory = Callable[[], AbstractContextManager[UnitOfWork]]
"""Opens a transaction; leaving it without an exception commits."""


InWork = Annotated[UnitOfWork, Depends(transaction, scope="function")]
