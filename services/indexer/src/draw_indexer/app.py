"""The composition root: the only module that joins the indexer's handlers to its adapters."""

import time
from collections.abc import Callable
from importlib.metadata import version

from draw_indexer.adapters.announced_objects import (
    PostgresAnnouncedObjectRepository,
    RabbitAnnouncementBroker,
)
from draw_indexer.adapters.component_group import ComponentGroup
from draw_indexer.adapters.consumption import Consumption
from draw_indexer.adapters.copies import FileCopies
from draw_indexer.adapters.deletions import PostgresExpiredStudyRepository
from draw_indexer.adapters.feed_queries import PostgresFeedRepository
from draw_indexer.adapters.former_handler import FormerHandler
from draw_indexer.adapters.index_queries import PostgresIndexRepository
from draw_indexer.adapters.next_versions import NextVersions, announce_by
from draw_indexer.adapters.reader import ConfinedHeaderReader
from draw_indexer.adapters.routing_queries import PostgresRoutingFeedRepository
from draw_indexer.adapters.stability_queries import PostgresStabilityRepository
from draw_indexer.adapters.transaction_queries import PostgresTransactionChain, Seals
from draw_indexer.adapters.volume_watch import StorageVolumeWatch
from draw_indexer.adapters.webhook_queries import PostgresDeliveryRepository
from draw_indexer.adapters.webhook_sender import HttpDeliverySender
from draw_indexer.handlers.clock import Upkeep
from draw_indexer.handlers.instance_stored import REASONS, InstanceStored
from draw_indexer.handlers.transactions_recorded import TransactionsRecorded
from draw_indexer.metrics import IndexerMetrics, RoutingMetrics
from draw_indexer.services.clean_up import CleanUpService, RetentionRule
from draw_indexer.services.indexing import IndexingService
from draw_indexer.services.lost_announcements import LostAnnouncementService
from draw_indexer.services.recently_indexed import RecentlyIndexed
from draw_indexer.services.routing import RoutingDecisionService
from draw_indexer.services.stability import CompletionTimes, StabilityService
from draw_indexer.services.webhooks import WebhookDeliveryService
from draw_indexer.settings import IndexerSettings
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.envelope import Message
from draw_shared.db import deletion
from draw_shared.db.session import Database
from draw_shared.errors import Transient
from draw_shared.messaging import topology
from draw_shared.messaging.announcement_backlog import AnnouncementBacklog
from draw_shared.messaging.consumer import Consumer
from draw_shared.messaging.control import ControlListener
from draw_shared.messaging.publisher import Publisher
from draw_shared.runtime import logging
from draw_shared.runtime.config_watch import ConfigWatch, LiveConfig
from draw_shared.runtime.desired_state import DesiredState
from draw_shared.runtime.health import Health, HealthServer
from draw_shared.runtime.heartbeat import Heartbeat, Pulse
from draw_shared.runtime.lifecycle import Component, Lifecycle, State
from draw_shared.runtime.metrics import DatabasePool, service_registry, show_config
from draw_shared.runtime.periodic import Periodic
from draw_shared.runtime.schema_watch import SchemaWatch
from draw_shared.storage.announced import AnnouncedRecords
from draw_shared.storage.config_file import ConfigFile
from draw_shared.storage.latest_deletion import LatestDeletion
from draw_shared.storage.places import Places
from draw_shared.storage.removal import StorageFiles

PROBE_INTERVAL_SECONDS = 1.0
REMOVAL_INTERVAL_SECONDS = 1.0
DELIVERY_INTERVAL_SECONDS = 1.0
ROUTING_INTERVAL_SECONDS = 1.0
TRIM_INTERVAL_SECONDS = 300.0
FORMER_HANDLER_INTERVAL_SECONDS = 5.0
PARTITION_INTERVAL_SECONDS = 3600.0
SECONDS_PER_DAY = 86_400.0
CHAIN_INTERVAL_SECONDS = 2.0
STATISTICS_INTERVAL_SECONDS = 2.0
RETRIES_END_SECONDS = sum(topology.INSTANCE_STORED_WORK.ladder_seconds) + 60.0
"""The time after which a failed message has had its last try, or is dead."""
TRANSACTION_BATCH = 20
"""Messages, each with up to some hundred lines."""


class Indexer:
    """One indexer process, constructed but not started."""

    def __init__(self, settings: IndexerSettings) -> None:
        self._settings = settings
        self._database_ready = False
        self._latest_deletion = LatestDeletion(settings.storage_root)
        self._deleted_ns = 0
        """The latest deletion at the last look at the volume."""
        self._registry = service_registry(
            service=settings.service, replica=settings.replica, version=version("draw-indexer")
        )
        self._metrics = IndexerMetrics(self._registry)
        self._metrics.show_reasons(REASONS)
        self._routing_metrics = RoutingMetrics(self._registry)
        self._schema = SchemaWatch(self._registry)
        self._database = Database(
            settings.database_url.get_secret_value(), pool_size=settings.indexer_readers + 5
        )
        self._broker_url = settings.broker_url.get_secret_value()
        self._config = ConfigWatch(
            self._database,
            ConfigFile(settings.storage_root, settings.replica),
            catches_up=True,
        )
        self._config.on_change(_changed)
        self._registry.register(DatabasePool(self._database))
        show_config(self._registry, self._config)
        self._publisher = Publisher(self._broker_url, client=settings.replica)
        self._places = Places(settings.storage_root)
        self._readers = [self._build_reader() for _ in range(settings.indexer_readers)]
        # What rules ask about files must not wait for a batch, nor a batch for it.
        self._value_reader = self._build_reader(ahead=False)
        indexing = IndexingService(
            PostgresIndexRepository(self._database, StorageFiles(settings.storage_root)),
            lambda: self._config.server.storage.duplicates,
        )
        self._transactions = PostgresTransactionChain(
            self._database, Seals.of(settings, self._metrics)
        )
        self._desired = DesiredState(
            self._database, service=settings.service, replica=settings.replica
        )
        self._consumption = Consumption(
            lambda: [
                self._build_transaction_lines(),
                *(self._build_instances(reader, indexing) for reader in self._readers),
            ],
            lambda: self._desired.wanted,
        )
        self._queues = RabbitAnnouncementBroker(
            self._broker_url,
            client=settings.replica,
            announce=announce_by(self._publisher, self._places),
        )
        self._recently_indexed = RecentlyIndexed()
        self._stability = PostgresStabilityRepository(self._database)
        self._feed = PostgresFeedRepository(self._database)
        self._routed = PostgresRoutingFeedRepository(self._database)
        self._lost = self._build_lost_announcements()
        self._metrics.gauge(
            "draw_indexer_broker_connected",
            "Whether announcements can come now",
            lambda: float(self._consumption.connected),
        )

    def lifecycle(self) -> Lifecycle:
        """Return the process's lifecycle: connections first, then upkeep, then the consumers."""
        settings = self._settings
        checks = {
            "database": lambda: self._database_ready,
            "configuration": lambda: self._config.known,
            "broker": self._broker_answers,
        }
        reasons = {
            "database": lambda: self._schema.reason,
            "configuration": lambda: self._config.trouble,
        }
        health = HealthServer(
            settings.indexer_http_host,
            settings.indexer_http_port,
            Health(lambda: lifecycle.state, checks, reasons),
            self._registry,
        )
        upkeep = Upkeep(
            self._transactions.make_partitions,
            lambda: self._transactions.drop_months(
                self._config.server.logging.transaction_retention_months,
                settings.replica,
            ),
            self._transactions.extend_chain,
            self._metrics.chained.inc,
            self._transactions.count_next_day,
        )
        decisions = self._build_routing(lambda: lifecycle.state is State.DRAINING)
        routing = Periodic("routing", decisions.decide, interval_seconds=ROUTING_INTERVAL_SECONDS)
        stability = self._build_stability(routing.wake)
        heartbeat = Heartbeat(
            self._database,
            service=settings.service,
            replica=settings.replica,
            pulse=lambda: self._pulse(
                self._desired.shown(lifecycle.state), health.port, decisions.trouble
            ),
        )
        self._desired.on_change(self._consumption.follow)
        self._desired.on_change(lambda _: heartbeat.wake())
        control = ControlListener(self._broker_url, client=settings.replica)
        control.on(ControlSubject.CONFIG, lambda _: self._config.wake())
        control.on(ControlSubject.DESIRED_STATE, lambda _: self._desired.wake())
        components: list[Component] = [
            health,
            self._config,
            self._publisher,
            heartbeat,
            Periodic("database probe", self._probe, interval_seconds=PROBE_INTERVAL_SECONDS),
            Periodic(
                "partitions", upkeep.on_partitions, interval_seconds=PARTITION_INTERVAL_SECONDS
            ),
            Periodic(
                "statistics", upkeep.on_statistics, interval_seconds=STATISTICS_INTERVAL_SECONDS
            ),
            Periodic("hash chain", upkeep.on_chain, interval_seconds=CHAIN_INTERVAL_SECONDS),
            Periodic(
                "stability",
                stability.close_complete,
                interval_seconds=settings.indexer_stability_seconds,
            ),
            self._queues,
            Periodic(
                "lost announcements",
                self._lost.check,
                interval_seconds=settings.indexer_lost_announcements_seconds,
            ),
            *self._build_storage_care(lambda: lifecycle.state is State.DRAINING),
            Periodic(
                "former handler",
                FormerHandler(self._database).take_over,
                interval_seconds=FORMER_HANDLER_INTERVAL_SECONDS,
            ),
            *self._build_deliveries(lambda: lifecycle.state is State.DRAINING),
            ComponentGroup("header readers", [*self._readers, self._value_reader]),
            routing,
            self._desired,
            self._consumption,
            control,
        ]
        lifecycle = Lifecycle(components, grace_seconds=settings.stop_seconds)
        return lifecycle

    def _build_reader(self, *, ahead: bool = True) -> ConfinedHeaderReader:
        settings = self._settings
        return ConfinedHeaderReader(
            settings.storage_root,
            seconds=settings.indexer_read_seconds,
            cpu_seconds=settings.indexer_read_cpu_seconds,
            memory_mb=settings.indexer_read_memory_mb,
            replaced=self._metrics.readers_replaced.inc,
            ahead=ahead,
        )

    def _build_instances(self, reader: ConfinedHeaderReader, indexing: IndexingService) -> Consumer:
        handler = InstanceStored(
            reader,
            self._places.unseal,
            indexing,
            self._metrics,
            lambda: self._config.server.logging.received_files,
            indexed=self._recently_indexed.add,
        )
        work = topology.INSTANCE_STORED_WORK

        def failed(outcome: str, message: bytes) -> None:
            self._metrics.count_put_aside(work.name, outcome)
            if outcome == "dead":
                self._queues.put_aside(message)

        return Consumer(
            self._broker_url,
            work,
            handler.on_instances_stored,
            client=self._settings.replica,
            batch=self._settings.indexer_batch,
            wait_seconds=self._settings.indexer_wait_seconds,
            failed=failed,
        )

    def _build_transaction_lines(self) -> Consumer:
        def written(lines: int) -> None:
            self._metrics.transactions.inc(lines)
            self._metrics.chained.inc(lines)

        handler = TransactionsRecorded(self._transactions.write, written)
        work = topology.TRANSACTIONS_WORK
        return Consumer(
            self._broker_url,
            work,
            handler.on_transactions_recorded,
            client=self._settings.replica,
            batch=TRANSACTION_BATCH,
            wait_seconds=self._settings.indexer_wait_seconds,
            failed=lambda outcome, _: self._metrics.count_put_aside(work.name, outcome),
        )

    def _build_stability(self, wake: Callable[[], None]) -> StabilityService:
        def announce(message: Message) -> None:
            self._publisher.publish(message, exchange=topology.NOTICES)

        def closed(level: str, number: int) -> None:
            self._metrics.stable.labels(level).inc(number)
            if number:
                wake()

        def times() -> CompletionTimes:
            query_retrieve = self._config.server.query_retrieve
            return CompletionTimes(
                query_retrieve.stable_after_seconds, query_retrieve.settle_time_seconds
            )

        return StabilityService(
            self._stability,
            StorageVolumeWatch(
                self._settings.storage_root, self._database, self._recently_indexed.has_all
            ),
            times,
            announce,
            closed,
        )

    def _build_lost_announcements(self) -> LostAnnouncementService:
        lost = LostAnnouncementService(
            AnnouncedRecords(self._settings.storage_root),
            PostgresAnnouncedObjectRepository(self._database),
            self._queues,
            lambda: self._consumption.connected,
            self._metrics.announced_again.inc,
            int(RETRIES_END_SECONDS / self._settings.indexer_lost_announcements_seconds) + 1,
            self._recently_indexed,
        )
        self._metrics.gauge(
            "draw_indexer_files_without_row",
            "Objects that were announced, are not in the index and on no way there",
            lambda: lost.objects,
        )
        return lost

    def _build_storage_care(self, stopping: Callable[[], bool]) -> list[Component]:
        settings = self._settings

        def rule() -> RetentionRule:
            storage = self._config.server.storage
            return RetentionRule(storage.clean_up, storage.retention_days)

        def freed(size_bytes: int) -> None:
            told = ControlV1(subject=ControlSubject.STORAGE, freed_bytes=size_bytes)
            self._publisher.publish(told, exchange=topology.CONTROL)

        deletions = PostgresExpiredStudyRepository(
            self._database,
            settings.storage_root,
            replica=settings.replica,
            keyring=settings.keyring(),
            freed=freed,
        )
        clean_up = CleanUpService(
            deletions,
            FileCopies(self._database, settings.storage_root, freed=freed),
            rule,
            AnnouncementBacklog(self._broker_url, client=settings.replica).number,
            self._metrics.cleaned_up.inc,
            stopping,
        )
        following = NextVersions(
            self._database, settings.storage_root, announce_by(self._publisher, self._places)
        )
        return [
            Periodic(
                "file removal", clean_up.remove_files, interval_seconds=REMOVAL_INTERVAL_SECONDS
            ),
            Periodic(
                "clean-up",
                clean_up.delete_expired,
                interval_seconds=settings.indexer_clean_up_seconds,
            ),
            Periodic(
                "next versions", following.announce, interval_seconds=REMOVAL_INTERVAL_SECONDS
            ),
            Periodic(
                "old tombstones", deletions.forget_old, interval_seconds=PARTITION_INTERVAL_SECONDS
            ),
        ]

    def _build_routing(self, stopping: Callable[[], bool]) -> RoutingDecisionService:
        def wake_worker() -> None:
            told = ControlV1(subject=ControlSubject.DELIVERY)
            self._publisher.publish(told, exchange=topology.CONTROL)

        return RoutingDecisionService(
            self._routed,
            self._value_reader,
            self._routing_metrics,
            wake_worker,
            stopping,
        )

    def _build_deliveries(self, stopping: Callable[[], bool]) -> list[Component]:
        """Return the components of the webhooks, and those that forget what was delivered."""
        settings = self._settings
        deliveries = PostgresDeliveryRepository(
            self._database,
            max_failing_seconds=settings.indexer_webhook_failing_days * SECONDS_PER_DAY,
        )
        sender = HttpDeliverySender()
        webhooks = WebhookDeliveryService(
            deliveries,
            sender,
            time.time,
            lambda outcome: self._metrics.webhooks.labels(outcome).inc(),
            settings.indexer_webhook_pauses_seconds,
            stopping,
        )

        sending = Periodic("webhooks", webhooks.deliver, interval_seconds=DELIVERY_INTERVAL_SECONDS)

        def fan_out() -> None:
            if webhooks.fan_out():
                sending.wake()

        def forget() -> None:
            self._feed.trim(settings.indexer_changes_days)
            self._stability.forget_old()
            self._routed.forget_old(settings.indexer_changes_days)
            deliveries.forget_old(
                delivered_days=settings.indexer_webhook_delivered_days,
                dead_days=settings.indexer_changes_days,
            )

        return [
            sender,
            sending,
            Periodic("webhook fan-out", fan_out, interval_seconds=DELIVERY_INTERVAL_SECONDS),
            Periodic("old changes", forget, interval_seconds=TRIM_INTERVAL_SECONDS),
        ]

    def _broker_answers(self) -> bool:
        """Return whether messages can arrive, or must not."""
        return self._consumption.connected or not self._desired.wanted.running

    def _probe(self) -> None:
        try:
            with self._database.session() as session:
                self._schema.look(session)
                # If the database was lost or restored meanwhile, the volume does not know it
                # either.
                if not self._database_ready or self._latest_deletion.moment_ns() < self._deleted_ns:
                    files = StorageFiles(self._settings.storage_root)
                    deletion.recall_latest(session.connection(), files)
                self._deleted_ns = self._latest_deletion.moment_ns()
        except Transient:
            self._database_ready = False
            self._recently_indexed.forget()
            raise
        self._database_ready = True

    def _pulse(self, state: str, http_port: int, trouble: str) -> Pulse:
        metrics = self._metrics
        return Pulse(
            state=state,
            address=f"{self._settings.indexer_http_host}:{http_port}",
            config_version=self._config.current.version,
            last_error=trouble,
            details={
                "indexed": metrics.indexed,
                "conflicts": metrics.conflicts,
                "dead": metrics.dead,
                "lag_seconds": round(metrics.last_lag, 3),
                "broker_connected": self._consumption.connected,
                "schema": self._schema.seen,
            },
        )


def _changed(live: LiveConfig) -> None:
    logging.set_level(live.server.logging.level)
