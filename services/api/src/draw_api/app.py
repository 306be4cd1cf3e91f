"""The composition root of the API; that of `draw-admin` is `admin`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final

import structlog
from fastapi import FastAPI
from sqlmodel import Session

from draw_api.adapters.access_queries import PostgresAccounts
from draw_api.adapters.activity_queries import (
    PostgresReceptionHistory,
    RecentMinutes,
    RecentOutlook,
)
from draw_api.adapters.ae_title_queries import PostgresAeTitles
from draw_api.adapters.archive_queries import PostgresCatalogue
from draw_api.adapters.audit_queries import PostgresAudit
from draw_api.adapters.batch_queries import PostgresBatchQueryTable
from draw_api.adapters.config_queries import PostgresConfigVersions
from draw_api.adapters.conflict_queries import PostgresConflicts
from draw_api.adapters.control_queries import PostgresControls
from draw_api.adapters.database_probe import DatabaseProbe
from draw_api.adapters.external_user_queries import PostgresExternalUsers
from draw_api.adapters.job_queries import PostgresJobTable
from draw_api.adapters.letter_box import RabbitLetterBox
from draw_api.adapters.live_retrieves import LiveRetrieves
from draw_api.adapters.node_queries import PostgresNodeTable
from draw_api.adapters.object_places import PostgresPlaces
from draw_api.adapters.object_reader import ObjectReader
from draw_api.adapters.passwords import Argon2Passwords, FailedAttempts
from draw_api.adapters.query_queries import PostgresQueryTable
from draw_api.adapters.recent_views import CollectedViews, RecentViews
from draw_api.adapters.retrieve_queries import PostgresRetrieveTable
from draw_api.adapters.status_queries import PostgresObservations, RecentTotals
from draw_api.adapters.storage_queries import PostgresStorage
from draw_api.adapters.suite_metrics import SuiteMetrics
from draw_api.adapters.suite_observation import SuiteObservation
from draw_api.adapters.surroundings import Surroundings as Outside
from draw_api.adapters.transaction_queries import PostgresTransactions
from draw_api.adapters.user_queries import PostgresUsers
from draw_api.adapters.wakeups import CollectedWakeUps
from draw_api.adapters.web_server import WebServer
from draw_api.adapters.webhook_queries import PostgresWebhooks
from draw_api.handlers.application import Surroundings, application
from draw_api.handlers.work import Work
from draw_api.metrics import ApiMetrics
from draw_api.models.single_sign_on import RoleRules
from draw_api.services.access import Access, ensure_administrator
from draw_api.services.activity import Activity
from draw_api.services.archive import Archive
from draw_api.services.batch_queries import BatchQueries
from draw_api.services.config import Configuration
from draw_api.services.conflicts import Conflicts
from draw_api.services.control import ServiceControl
from draw_api.services.dead_letters import DeadLetterOffice
from draw_api.services.jobs import Jobs
from draw_api.services.nodes import Nodes
from draw_api.services.objects import Objects
from draw_api.services.peers import Peers
from draw_api.services.queries import Queries
from draw_api.services.retrieves import Retrieves
from draw_api.services.single_sign_on import ExternalAccess, SignOn
from draw_api.services.status import StatusReport
from draw_api.services.storage import StorageCare
from draw_api.services.transactions import Transactions
from draw_api.services.users import Users
from draw_api.services.webhooks import Webhooks
from draw_api.settings import Settings
from draw_shared.db.session import Database
from draw_shared.messaging.dead_letters import DeadLetters
from draw_shared.messaging.publisher import Publisher
from draw_shared.messaging.queue_depths import QueueDepths
from draw_shared.runtime.health import Health
from draw_shared.runtime.heartbeat import Heartbeat, Pulse
from draw_shared.runtime.lifecycle import Lifecycle, State
from draw_shared.runtime.metrics import DatabasePool, service_registry
from draw_shared.runtime.periodic import Periodic
from draw_shared.runtime.schema_watch import SchemaWatch

log = structlog.get_logger()

POOL_SIZE: Final = 20
"""Connections kept; FastAPI's thread pool runs up to 40 requests at a time."""
DEPTHS_SECONDS: Final = 2.0
OBSERVATION_SECONDS: Final = 5.0


def _now() -> datetime:
    return datetime.now(UTC)


def _role_rules(settings: Settings) -> RoleRules:
    def listed(value: str) -> frozenset[str]:
        return frozenset(part.strip() for part in value.split(",") if part.strip())

    return RoleRules(
        admin=listed(settings.api_oidc_admin_groups),
        operator=listed(settings.api_oidc_operator_groups),
        viewer=listed(settings.api_oidc_viewer_groups),
    )


class Api:
    """One API process, built but not started."""

    def __init__(self, settings: Settings) -> None:
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
        self._letters = RabbitLetterBox(DeadLetters(broker_url, client=settings.replica))
        self._depths = QueueDepths(broker_url, client=settings.replica)
        self._outside = Outside(settings.storage_root, lambda: self._depths.seen)
        self._observation = SuiteObservation(self._database)
        self._registry.register(DatabasePool(self._database))
        self._registry.register(
            SuiteMetrics(
                lambda: self._observation.seen, lambda: self._depths.seen, self._outside.disk
            )
        )
        self._keyring = settings.keyring()
        self._totals = RecentTotals()
        self._minutes = RecentMinutes()
        self._outlook = RecentOutlook()
        self._objects = ObjectReader(settings.storage_root)
        self._recent_views = RecentViews()
        self._passwords = Argon2Passwords()
        self._attempts = FailedAttempts()
        self._live_retrieves = LiveRetrieves(self._database)
        self._role_rules = _role_rules(settings)
        self._probe = DatabaseProbe(self._database, self._schema, self._ensure_administrator)

    def application(self) -> FastAPI:
        """Return the ASGI application alone, as for its OpenAPI document."""
        return self._application(Health(lambda: State.READY, {}))

    def lifecycle(self) -> Lifecycle:
        """Return the process's life: connections first, the web server last."""
        settings = self._settings
        checks = {"database": self._probe.there}
        reasons = {"database": lambda: self._schema.reason}
        web = WebServer(
            self._application(Health(lambda: lifecycle.state, checks, reasons)),
            settings.api_host,
            settings.api_port,
            trusted_proxies=settings.api_trusted_proxies,
            most_each=settings.api_connections_per_address,
            refused=self._metrics.refused,
        )
        lifecycle = Lifecycle(
            [
                self._publisher,
                Periodic("queue-depths", self._depths.look, interval_seconds=DEPTHS_SECONDS),
                Periodic(
                    "suite observation",
                    self._observation.look,
                    interval_seconds=OBSERVATION_SECONDS,
                ),
                self._probe,
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
            Surroundings(
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
    def work(self) -> Iterator[Work]:
        """Yield the use cases of one request in one transaction; wake-ups leave after its commit.

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
    ) -> Work:
        audit = PostgresAudit(session, replica=self._settings.replica, keyring=self._keyring)
        access = self._access(session, audit)
        configuration = Configuration(
            PostgresConfigVersions(session), self._outside, wakeups, audit
        )
        observations = PostgresObservations(session, self._totals)
        sealed_head = self._settings.sealed_head()
        log_lines = PostgresTransactions(session, self._keyring, sealed_head)
        webhooks = PostgresWebhooks(session)
        storage_tables = PostgresStorage(session, self._settings.storage_root)
        storage = StorageCare(
            storage_tables,
            observations,
            self._outside.disk,
            self._outside.unindexed,
            audit,
            _now,
        )
        retrieves = Retrieves(PostgresRetrieveTable(session), wakeups, audit)
        kept = timedelta(hours=self._settings.api_query_hours)
        return Work(
            access=access,
            external_access=ExternalAccess(
                PostgresExternalUsers(session), access, self._role_rules, audit
            ),
            activity=Activity(
                PostgresReceptionHistory(session, self._minutes),
                lambda: self._outlook.read(lambda: storage.usage().forecast),
            ),
            archive=Archive(PostgresCatalogue(session), audit),
            batch_queries=BatchQueries(
                PostgresBatchQueryTable(session, kept), retrieves, wakeups, audit
            ),
            configuration=configuration,
            conflicts=Conflicts(PostgresConflicts(session)),
            control=ServiceControl(PostgresControls(session), observations, wakeups, audit),
            dead_letters=DeadLetterOffice(self._letters, self._outside, audit),
            jobs=Jobs(PostgresJobTable(session), wakeups, audit),
            nodes=Nodes(PostgresNodeTable(session), audit),
            objects=Objects(PostgresPlaces(session), self._objects, views, audit),
            peers=Peers(PostgresAeTitles(session), log_lines, configuration, wakeups, audit),
            queries=Queries(PostgresQueryTable(session, kept), wakeups, audit),
            retrieves=retrieves,
            status=StatusReport(observations, self._outside, storage_tables.rules, clock=_now),
            storage=storage,
            transactions=Transactions(log_lines, audit),
            webhooks=Webhooks(webhooks, webhooks, audit),
            users=Users(PostgresUsers(session), self._passwords, self._attempts, audit, clock=_now),
        )

    def _access(self, session: Session, audit: PostgresAudit) -> Access:
        return Access(
            PostgresAccounts(session),
            self._passwords,
            self._attempts,
            audit,
            clock=_now,
            session_length=timedelta(hours=self._settings.api_session_hours),
        )

    def _sign_on(self) -> SignOn:
        settings = self._settings
        provider = None
        if settings.api_oidc_issuer and settings.api_oidc_client_secret is not None:
            # With its HTTP client and cryptography, which only few need and each start would load.
            from draw_api.adapters.identity_provider import Client, OidcProvider  # noqa: PLC0415

            client = Client(
                issuer=settings.api_oidc_issuer,
                client_id=settings.api_oidc_client_id,
                client_secret=settings.api_oidc_client_secret.get_secret_value(),
                scopes=settings.api_oidc_scopes,
                groups_claim=settings.api_oidc_groups_claim,
            )
            provider = OidcProvider(client)
        return SignOn(provider, name=settings.api_oidc_name, public_url=settings.api_public_url)

    def _ensure_administrator(self) -> None:
        password = self._settings.admin_password
        if password is None:
            return
        with self._database.session() as session:
            accounts = PostgresAccounts(session)
            if ensure_administrator(accounts, self._passwords, password.get_secret_value()):
                session.commit()
                log.info("access.administrator_created")
