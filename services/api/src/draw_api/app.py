"""The composition root of the API; that of `draw-admin` is `admin`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final

import structlog
from fastapi import FastAPI
from sqlmodel import Session

from draw_api.adapters.access_queries import PostgresAccountRepository
from draw_api.adapters.activity_queries import (
    PostgresReceptionRepository,
    RecentDay,
    RecentMinutes,
    RecentOutlook,
)
from draw_api.adapters.ae_title_queries import PostgresAeTitleRepository
from draw_api.adapters.archive_queries import PostgresArchiveRepository
from draw_api.adapters.association_queries import PostgresAssociationRepository
from draw_api.adapters.batch_queries import PostgresBatchQueryRepository
from draw_api.adapters.call_queries import PostgresCallRepository
from draw_api.adapters.conflict_queries import PostgresConflictRepository
from draw_api.adapters.control_queries import PostgresControlRepository
from draw_api.adapters.dead_letter_queues import RabbitDeadLetterQueues
from draw_api.adapters.destination_queries import PostgresDestinationRepository
from draw_api.adapters.document_queries import CONFIGURATION, ROUTING, PostgresDocumentRepository
from draw_api.adapters.external_user_queries import PostgresExternalUserRepository
from draw_api.adapters.host_status import SystemHostStatus
from draw_api.adapters.job_queries import PostgresJobRepository
from draw_api.adapters.live_retrieves import PolledRetrieves
from draw_api.adapters.logged_study_queries import PostgresLoggedStudyRepository
from draw_api.adapters.node_queries import PostgresNodeRepository
from draw_api.adapters.object_places import PostgresObjectRepository
from draw_api.adapters.object_reader import ConfinedObjectReader
from draw_api.adapters.passwords import Argon2Passwords, FailedAttempts
from draw_api.adapters.query_queries import PostgresQueryRepository
from draw_api.adapters.retrieve_queries import PostgresRetrieveRepository
from draw_api.adapters.routed_delivery_queries import PostgresRoutedDeliveryRepository
from draw_api.adapters.routing_queries import PostgresRoutingFactsSource
from draw_api.adapters.routing_trial_queries import (
    PostgresCompletionHistory,
    PostgresRoutingBatchRepository,
)
from draw_api.adapters.saved_query_queries import PostgresSavedQueryRepository
from draw_api.adapters.standing_query_queries import (
    PostgresStandingQueryRepository,
    PostgresStandingRunRepository,
)
from draw_api.adapters.statistics_queries import PostgresStatisticsRepository
from draw_api.adapters.status_queries import PostgresStatusRepository, RecentTotals
from draw_api.adapters.storage_queries import PostgresStorageRepository
from draw_api.adapters.suite_metrics import SuiteMetrics
from draw_api.adapters.suite_observation import SuiteObservation
from draw_api.adapters.transaction_queries import PostgresTransactionRepository
from draw_api.adapters.user_queries import PostgresUserRepository
from draw_api.adapters.wakeups import CollectedWakeUps
from draw_api.adapters.webhook_queries import PostgresWebhookRepository
from draw_api.handlers.application import AppDependencies, application
from draw_api.handlers.standing_queries import StandingQueryScheduler
from draw_api.handlers.work import UnitOfWork
from draw_api.metrics import ApiMetrics
from draw_api.models.single_sign_on import RoleRules
from draw_api.services.access import AccessService, ensure_administrator
from draw_api.services.activity import ActivityService
from draw_api.services.archive import ArchiveService
from draw_api.services.batch_queries import BatchQueryService
from draw_api.services.config import ConfigurationService
from draw_api.services.conflicts import ConflictService
from draw_api.services.control import ControlService
from draw_api.services.dead_letters import DeadLetterService
from draw_api.services.deliveries import DeliveryService
from draw_api.services.destination_rules import DestinationRules
from draw_api.services.destinations import DestinationService
from draw_api.services.devices import DeviceService, DeviceUses
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
from draw_api.services.single_sign_on import ExternalAccessService, SingleSignOnService
from draw_api.services.standing_queries import StandingQueryService
from draw_api.services.standing_runs import StandingRunService
from draw_api.services.statistics import StatisticsService
from draw_api.services.status import StatusService
from draw_api.services.storage import StorageService
from draw_api.services.transactions import TransactionService
from draw_api.services.users import UserService
from draw_api.services.webhooks import WebhookService
from draw_api.settings import ApiSettings
from draw_shared.access.authentication import Authentication
from draw_shared.access.recent_views import CollectedViews, RecentViews
from draw_shared.db.audit_trail import PostgresAuditTrail
from draw_shared.db.credentials import PostgresCredentialRepository
from draw_shared.db.session import Database
from draw_shared.messaging.dead_letters import DeadLetters
from draw_shared.messaging.publisher import Publisher
from draw_shared.messaging.queue_depths import QueueDepths
from draw_shared.runtime.database_probe import DatabaseProbe
from draw_shared.runtime.health import Health
from draw_shared.runtime.heartbeat import Heartbeat, Pulse
from draw_shared.runtime.lifecycle import Lifecycle, State
from draw_shared.runtime.metrics import DatabasePool, service_registry
from draw_shared.runtime.periodic import Periodic
from draw_shared.runtime.schema_watch import SchemaWatch
from draw_shared.web.server import WebServer

log = structlog.get_logger()

POOL_SIZE: Final = 20
"""Connections kept; FastAPI's thread pool runs up to 40 requests at a time."""
QUEUE_DEPTH_INTERVAL_SECONDS: Final = 2.0
OBSERVATION_INTERVAL_SECONDS: Final = 5.0
STANDING_QUERY_INTERVAL_SECONDS: Final = 2.0


def _now() -> datetime:
    return datetime.now(UTC)


def _role_rules(settings: ApiSettings) -> RoleRules:
    def split_list(value: str) -> frozenset[str]:
        return frozenset(part.strip() for part in value.split(",") if part.strip())

    return RoleRules(
        admin=split_list(settings.api_oidc_admin_groups),
        operator=split_list(settings.api_oidc_operator_groups),
        viewer=split_list(settings.api_oidc_viewer_groups),
    )


class Api:
    """One API process, constructed but not started."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._version = version("draw-api")
        self._registry = service_registry(
            service=settings.service, replica=settings.replica, version=self._version
        )
        self._metrics = ApiMetrics(self._registry)
        self._schema = SchemaWatch(self._registry)
        broker_url = settings.broker_url.get_secret_value()
        self._database = Database(
            settings.database_url.get_secret_value(), pool_size=POOL_SIZE, plan_for_values=True
        )
        self._publisher = Publisher(broker_url, client=settings.replica)
        self._letters = RabbitDeadLetterQueues(DeadLetters(broker_url, client=settings.replica))
        self._depths = QueueDepths(broker_url, client=settings.replica)
        self._host_status = SystemHostStatus(settings.storage_root, lambda: self._depths.seen)
        self._observation = SuiteObservation(self._database)
        self._registry.register(DatabasePool(self._database))
        self._registry.register(
            SuiteMetrics(
                lambda: self._observation.seen, lambda: self._depths.seen, self._host_status.disk
            )
        )
        self._keyring = settings.keyring()
        self._totals = RecentTotals()
        self._minutes = RecentMinutes()
        self._day = RecentDay()
        self._outlook = RecentOutlook()
        self._objects = ConfinedObjectReader(settings.storage_root)
        self._recent_views = RecentViews()
        self._passwords = Argon2Passwords()
        self._attempts = FailedAttempts()
        self._live_retrieves = PolledRetrieves(self._database)
        self._role_rules = _role_rules(settings)
        self._probe = DatabaseProbe(self._database, self._schema, self._ensure_administrator)

    def application(self) -> FastAPI:
        """Return the ASGI application alone, for instance for its OpenAPI document."""
        return self._application(Health(lambda: State.READY, {}))

    def lifecycle(self) -> Lifecycle:
        """Return the process's lifecycle: connections first, the web server last."""
        settings = self._settings
        checks = {"database": self._probe.there}
        reasons = {"database": lambda: self._schema.reason}
        web = WebServer(
            self._application(Health(lambda: lifecycle.state, checks, reasons)),
            settings.api_host,
            settings.api_port,
            trusted_proxies=settings.api_trusted_proxies,
            most_each=settings.api_connections_per_address,
            refused=self._metrics.count_refusal,
        )
        lifecycle = Lifecycle(
            [
                self._publisher,
                Periodic(
                    "queue-depths", self._depths.look, interval_seconds=QUEUE_DEPTH_INTERVAL_SECONDS
                ),
                Periodic(
                    "suite observation",
                    self._observation.look,
                    interval_seconds=OBSERVATION_INTERVAL_SECONDS,
                ),
                self._probe,
                Periodic(
                    "standing queries",
                    StandingQueryScheduler(self.work, self._metrics).look,
                    interval_seconds=STANDING_QUERY_INTERVAL_SECONDS,
                ),
                self._objects,
                Heartbeat(
                    self._database,
                    service=settings.service,
                    replica=settings.replica,
                    pulse=lambda: Pulse(
                        state=str(lifecycle.state),
                        address=f"{settings.api_host}:{web.port}",
                        details={
                            "broker_connected": self._publisher.connected,
                            "schema": self._schema.seen,
                        },
                    ),
                ),
                web,
                # Streams must end before the web server waits for its answers.
                self._live_retrieves,
            ],
            grace_seconds=settings.stop_seconds,
        )
        return lifecycle

    def _application(self, health: Health) -> FastAPI:
        return application(
            AppDependencies(
                work=self.work,
                sign_on=self._sign_on(),
                live_retrieves=self._live_retrieves,
                storage_root=self._settings.storage_root,
                health=health,
                registry=self._registry,
                metrics=self._metrics,
                version=self._version,
            )
        )

    @contextmanager
    def work(self) -> Iterator[UnitOfWork]:
        """Yield the use cases of one request in one transaction; send wake-ups after its commit.

        Raises:
            DatabaseUnavailable: nothing was changed.
        """
        wakeups = CollectedWakeUps(self._publisher)
        views = CollectedViews(self._recent_views)
        with self._database.session() as session:
            yield self._use_cases(session, wakeups, views)
            session.commit()
        wakeups.send()
        views.remember()

    def _use_cases(
        self, session: Session, wakeups: CollectedWakeUps, views: CollectedViews
    ) -> UnitOfWork:
        audit = PostgresAuditTrail(session, replica=self._settings.replica, keyring=self._keyring)
        access = self._access(session, audit)
        configuration = ConfigurationService(
            PostgresDocumentRepository(session, CONFIGURATION), wakeups, audit
        )
        observations = PostgresStatusRepository(session, self._totals)
        sealed_head = self._settings.sealed_head()
        log_lines = PostgresTransactionRepository(session, self._keyring, sealed_head)
        webhooks = PostgresWebhookRepository(session)
        storage_tables = PostgresStorageRepository(session, self._settings.storage_root)
        storage = StorageService(
            storage_tables,
            observations,
            self._host_status.disk,
            self._host_status.unindexed,
            audit,
            _now,
        )
        retrieves = RetrieveService(PostgresRetrieveRepository(session), wakeups, audit)
        peers = PeerService(
            PostgresAeTitleRepository(session),
            log_lines,
            log_lines,
            configuration,
            wakeups,
            audit,
        )
        job_rows = PostgresJobRepository(session)
        jobs = JobService(job_rows, wakeups, audit)
        rules = PostgresDocumentRepository(session, ROUTING)
        destinations = PostgresDestinationRepository(session)
        destination_rules = DestinationRules(destinations, self._host_status, rules)
        nodes = NodeService(PostgresNodeRepository(session), destination_rules, audit)
        facts = PostgresRoutingFactsSource(session, self._objects.values)
        routing = RoutingService(rules, facts, destination_rules, audit)
        kept = timedelta(hours=self._settings.api_query_hours)
        queries = QueryService(
            PostgresQueryRepository(session, kept), retrieves, wakeups, audit, clock=_now
        )
        standing = PostgresStandingQueryRepository(session)
        schedule = PostgresStandingRunRepository(session)
        return UnitOfWork(
            authentication=Authentication(PostgresCredentialRepository(session)),
            access=access,
            external_access=ExternalAccessService(
                PostgresExternalUserRepository(session), access, self._role_rules, audit
            ),
            activity=ActivityService(
                PostgresReceptionRepository(session, self._minutes, self._day),
                lambda: self._outlook.read(lambda: storage.usage().forecast),
            ),
            archive=ArchiveService(PostgresArchiveRepository(session), audit),
            batch_queries=BatchQueryService(
                PostgresBatchQueryRepository(session, kept), retrieves, wakeups, audit
            ),
            configuration=configuration,
            conflicts=ConflictService(PostgresConflictRepository(session)),
            control=ControlService(
                PostgresControlRepository(session), observations, wakeups, audit
            ),
            dead_letters=DeadLetterService(self._letters, self._host_status, audit),
            deliveries=DeliveryService(
                PostgresRoutedDeliveryRepository(session),
                job_rows,
                destinations,
                routing,
                wakeups,
                audit,
            ),
            destinations=DestinationService(destinations, routing, wakeups, audit),
            devices=DeviceService(
                PostgresCallRepository(session),
                observations,
                configuration,
                DeviceUses(peers, nodes, jobs),
                clock=_now,
            ),
            jobs=jobs,
            log_views=LogViewService(
                log_lines,
                PostgresAssociationRepository(session),
                PostgresLoggedStudyRepository(session),
            ),
            nodes=nodes,
            objects=ObjectService(PostgresObjectRepository(session), self._objects, views, audit),
            peers=peers,
            queries=queries,
            retrieves=retrieves,
            routing=routing,
            routing_batches=ArchiveBatchService(
                routing, facts, PostgresRoutingBatchRepository(session), audit
            ),
            routing_replay=RoutingReplayService(
                routing, facts, PostgresCompletionHistory(session), audit
            ),
            saved_queries=SavedQueryService(PostgresSavedQueryRepository(session), queries, audit),
            standing_queries=StandingQueryService(standing, schedule, audit),
            standing_runs=StandingRunService(schedule, standing, queries, retrieves, audit),
            statistics=StatisticsService(PostgresStatisticsRepository(session)),
            status=StatusService(observations, self._host_status, storage_tables.rules, clock=_now),
            storage=storage,
            transactions=TransactionService(log_lines, audit),
            webhooks=WebhookService(webhooks, webhooks, destination_rules, audit),
            users=UserService(
                PostgresUserRepository(session), self._passwords, self._attempts, audit, clock=_now
            ),
        )

    def _access(self, session: Session, audit: PostgresAuditTrail) -> AccessService:
        return AccessService(
            PostgresAccountRepository(session),
            self._passwords,
            self._attempts,
            audit,
            clock=_now,
            session_length=timedelta(hours=self._settings.api_session_hours),
        )

    def _sign_on(self) -> SingleSignOnService:
        settings = self._settings
        provider = None
        if settings.api_oidc_issuer and settings.api_oidc_client_secret is not None:
            # It imports an HTTP client and cryptography, which few need and each start would load.
            from draw_api.adapters.identity_provider import ClientRegistration, OidcIdentityProvider  # noqa: PLC0415

            client = ClientRegistration(
                issuer=settings.api_oidc_issuer,
                client_id=settings.api_oidc_client_id,
                client_secret=settings.api_oidc_client_secret.get_secret_value(),
                scopes=settings.api_oidc_scopes,
                groups_claim=settings.api_oidc_groups_claim,
            )
            provider = OidcIdentityProvider(client)
        return SingleSignOnService(
            provider, name=settings.api_oidc_name, public_url=settings.api_public_url
        )

    def _ensure_administrator(self) -> None:
        password = self._settings.admin_password
        if password is None:
            return
        with self._database.session() as session:
            accounts = PostgresAccountRepository(session)
            if ensure_administrator(accounts, self._passwords, password.get_secret_value()):
                session.commit()
                log.info("access.administrator_created")
