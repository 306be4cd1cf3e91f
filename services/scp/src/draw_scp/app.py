"""The composition root of the receiver; `announcing` and `receiving` are those of its children."""

import math
import os
from importlib.metadata import version
from typing import Final

from draw_scp.adapters.announcer import Announcer
from draw_scp.adapters.catalogue import PostgresCatalogue
from draw_scp.adapters.deferred_tasks import DeferredTasks
from draw_scp.adapters.lines_ahead import LinesAhead
from draw_scp.adapters.listener import Listener
from draw_scp.adapters.object_files import ObjectFiles
from draw_scp.adapters.receiving_processes import ReceivingProcesses
from draw_scp.adapters.sub_associations import SubAssociations
from draw_scp.handlers.accounting import OperationAccounting
from draw_scp.handlers.echo import EchoHandler
from draw_scp.handlers.find import FindHandler
from draw_scp.handlers.negotiate import Associations
from draw_scp.handlers.provider import Provider
from draw_scp.handlers.retrieve import RetrieveHandler
from draw_scp.handlers.store import StoreHandler
from draw_scp.metrics import ScpMetrics
from draw_scp.pipe_messages import AnnouncerConfig, ReceivingConfig
from draw_scp.ports.operations import OperationResults
from draw_scp.services.audit import AuditService
from draw_scp.services.query import FindService
from draw_scp.services.results import ResultService
from draw_scp.services.retrieve import SubOperationService
from draw_scp.settings import ScpSettings
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.db.index_connections import IndexConnections
from draw_shared.db.session import Database
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.dicom.transcoding.decoding import DecodingLimits
from draw_shared.dicom.transcoding.decoding_processes import DecodingProcesses
from draw_shared.dicom.transcoding.transcoder import Transcoder
from draw_shared.messaging.control import ControlListener
from draw_shared.runtime import logging
from draw_shared.runtime.config_watch import ConfigWatch, LiveConfig
from draw_shared.runtime.descriptors import allow_descriptors
from draw_shared.runtime.desired_state import DesiredState
from draw_shared.runtime.health import Health, HealthServer
from draw_shared.runtime.heartbeat import Heartbeat, Pulse
from draw_shared.runtime.lifecycle import Lifecycle, State
from draw_shared.runtime.metrics import DatabasePool, service_registry, show_config
from draw_shared.runtime.own_addresses import own_addresses
from draw_shared.runtime.periodic import Periodic
from draw_shared.storage import spool
from draw_shared.storage.config_file import ConfigFile
from draw_shared.storage.ingest import Ingest
from draw_shared.storage.layout import CONFIG
from draw_shared.storage.objects import ObjectStore
from draw_shared.storage.reception import FilingRules, filing_rules
from draw_shared.storage.space import Space

BEAT_INTERVAL_SECONDS: Final = 5.0
MAX_PROCESSES: Final = 4
"""Largest number of receiving processes, unless a setting says otherwise."""


class Scp:
    """One receiver, built but not started."""

    def __init__(self, settings: ScpSettings) -> None:
        self._settings = settings
        replica = settings.replica
        self._registry = service_registry(
            service=settings.service, replica=replica, version=version("draw-scp")
        )
        self._metrics = ScpMetrics(self._registry)
        self._database = Database(settings.database_url.get_secret_value())
        self._index = IndexConnections(
            settings.database_url.get_secret_value(),
            most=settings.scp_query_connections,
            statement_seconds=settings.scp_query_seconds,
        )
        self._objects = ObjectStore(settings.storage_root, replica)
        self._config = ConfigWatch(self._database, ConfigFile(settings.storage_root, replica))
        self._live = _EffectiveConfig(self._config, settings)
        storage = self._server().storage
        self._ruled = storage, filing_rules(storage)
        self._desired = DesiredState(
            self._database,
            service=settings.service,
            replica=replica,
            file=settings.storage_root / CONFIG / "desired.scp.json",
            auto_start=self._auto_start,
        )
        self._control = ControlListener(settings.broker_url.get_secret_value(), client=replica)
        self._space = Space(settings.storage_root)
        self._announcer = Announcer(
            self._announcer_config,
            self._metrics.announced.inc,
            self._metrics.lines_lost.inc,
            self._objects.spool,
        )
        self._deferred = DeferredTasks(self._announcer.flush)
        self._ahead = LinesAhead(self._objects.spool, replica)
        audit = AuditService(self._announcer, self._ahead)
        results = ResultService(audit, self._metrics, self._deferred)
        self._receiving = ReceivingProcesses(
            settings.scp_processes or min(len(os.sched_getaffinity(0)), MAX_PROCESSES),
            self._receiving_config,
            results,
            self._announcer,
            self._objects,
            self._space,
        )
        self._decoding = DecodingProcesses(
            DecodingLimits(
                settings.transcoding_max_frame_bytes, settings.transcoding_max_inflated_bytes
            ),
            self._objects.spool,
        )
        self._listener = Listener(
            self._provider(audit, results),
            self._server,
            placement=self._receiving,
            drain_seconds=settings.stop_seconds,
            reuse_port=settings.scp_reuse_port,
            desired=lambda: self._desired.wanted,
        )
        self._listen_for_changes()
        self._show_gauges()

    def lifecycle(self) -> Lifecycle:
        """Return the lifecycle of the process: connections first, then work, then the edges."""
        allow_descriptors()
        settings = self._settings
        health = HealthServer(
            settings.scp_http_host,
            settings.scp_http_port,
            Health(
                lambda: lifecycle.state,
                {
                    "configuration": lambda: self._config.known and self._desired.decided,
                    "listener": lambda: self._listener.listening,
                },
                {
                    "configuration": lambda: self._config.trouble or self._desired.trouble,
                    "listener": lambda: self._listener.problem,
                },
            ),
            self._registry,
        )
        heartbeat = Heartbeat(
            self._database,
            service=settings.service,
            replica=settings.replica,
            pulse=lambda: self._pulse(lifecycle.state, health.port),
        )
        self._desired.on_change(lambda _: heartbeat.wake())
        self._control.on(ControlSubject.STORAGE, lambda _: heartbeat.wake())
        lifecycle = Lifecycle(
            [
                health,
                self._objects,
                self._config,
                self._announcer,
                self._ahead,
                self._deferred,
                self._receiving,
                self._decoding,
                Periodic("spool", self._objects.beat, interval_seconds=BEAT_INTERVAL_SECONDS),
                self._index,
                Periodic("space", self._space.measure, interval_seconds=5.0),
                self._desired,
                heartbeat,
                self._control,
                self._listener,
            ],
            grace_seconds=settings.stop_seconds,
        )
        return lifecycle

    def _provider(self, audit: AuditService, results: OperationResults) -> Provider:
        """Return the provider for the engine, made of one object per DIMSE service."""
        catalogue = PostgresCatalogue(self._index)
        files = ObjectFiles(self._objects.resolve, Transcoder(self._decoding))
        associations = Associations(
            self._live.current,
            audit,
            self._metrics,
            self._deferred,
            loopback_reads=self._settings.scp_loopback_reads,
        )
        accounting = OperationAccounting(
            audit, self._metrics, lambda: self._server().logging.performance_metrics
        )
        retrieve = RetrieveHandler(
            SubOperationService(
                catalogue,
                files,
                SubAssociations(files, self._own_ae, self._trusts()),
                lambda: self._server().query_retrieve.parallel_sub_associations,
                lambda operation, ended: self._metrics.sub_operations.labels(
                    operation, str(ended)
                ).inc(),
            ),
            associations.demand,
            audit,
            accounting,
        )
        ingest = Ingest(
            self._objects, self._space, self._announcer, self._rules, self._settings.replica
        )
        store = StoreHandler(ingest, results, lambda: self._server().services.c_store)
        find = FindHandler(
            FindService(catalogue, self._own_ae, lambda: self._server().query_retrieve.max_results),
            associations.demand,
            accounting,
        )
        return Provider(
            admit=associations.admit,
            opened=associations.opened,
            closed=associations.closed,
            rejected=associations.rejected,
            echo=EchoHandler(results).echo,
            store=store.store,
            find=find.find,
            get=retrieve.get,
            move=retrieve.move,
        )

    def _own_ae(self) -> str:
        return self._server().network.ae_title

    def _trusts(self) -> PeerTrusts:
        settings = self._settings
        return PeerTrusts(settings.scp_tls_ca_file, settings.scp_tls_certificate_file)

    def _server(self) -> ServerConfig:
        return self._live.current().server

    def _auto_start(self) -> bool | None:
        return self._server().services.auto_start if self._config.known else None

    def _announcer_config(self) -> AnnouncerConfig:
        config = self._server()
        return AnnouncerConfig(
            self._rules().layout, config.logging.received_files, config.logging.level
        )

    def _receiving_config(self) -> ReceivingConfig:
        server = self._server()
        return ReceivingConfig(
            self._rules(), server.services.c_store, server.logging.level, self._space.used_bytes
        )

    def _rules(self) -> FilingRules:
        storage = self._server().storage
        ruled_by, rules = self._ruled
        if storage is not ruled_by:
            rules = filing_rules(storage)
            self._ruled = storage, rules
        return rules

    def _listen_for_changes(self) -> None:
        self._config.on_change(self._changed)
        self._desired.on_change(lambda _: self._listener.apply())
        self._control.on(ControlSubject.CONFIG, lambda _: self._config.wake())
        self._control.on(ControlSubject.DESIRED_STATE, lambda _: self._desired.wake())
        self._control.on(ControlSubject.STORAGE, self._freed)

    def _freed(self, told: ControlV1) -> None:
        self._space.freed(told.freed_bytes or 0)
        self._receiving.tell()

    def _changed(self, _live: LiveConfig) -> None:
        logging.set_level(self._server().logging.level)
        self._desired.wake()
        self._listener.apply()
        self._receiving.tell()

    def _pulse(self, state: State, http_port: int) -> Pulse:
        busy = self._listener.active_associations > 0
        number, age = spool.backlog(self._objects.spool)
        bound = self._listener.bound
        if not self._config.known:
            state = State.STARTING
        shown = self._desired.shown(state, busy=busy)
        return Pulse(
            # Without its port it is still starting; it tries to open the port each second.
            state=shown if self._listener.listening or shown != State.READY else State.STARTING,
            started_at=self._listener.opened_at,
            address=f"{self._settings.scp_http_host}:{http_port}",
            active_associations=self._listener.active_associations,
            config_version=self._config.current.version,
            last_error=self._config.trouble or self._listener.problem,
            details={
                "port": self._listener.port,
                # For an API of the previous release.
                "bound": bound[0] if bound else None,
                "dicom": bound,
                "backlog": number,
                "backlog_age_seconds": round(age, 1),
                "storage_used_bytes": self._space.used_bytes if self._space.counted else None,
                "storage_free_bytes": self._space.free_bytes,
                "broker_connected": self._announcer.connected,
                "loopback_reads": self._settings.scp_loopback_reads,
                "own_addresses": own_addresses(),
            },
        )

    def _show_gauges(self) -> None:
        self._registry.register(DatabasePool(self._database))
        show_config(self._registry, self._config)
        gauge = self._metrics.gauge
        gauge(
            "draw_scp_active_associations",
            "Associations established now",
            lambda: self._listener.active_associations,
        )
        gauge(
            "draw_scp_open_connections",
            "Connections open now, associated or not",
            lambda: self._listener.connections,
        )
        gauge(
            "draw_scp_listener_as_configured",
            "Whether the DICOM port is open, or closed, as the configuration wants it",
            lambda: float(not self._listener.problem),
        )
        gauge(
            "draw_scp_receiving_processes",
            "Processes that receive now, side by side",
            lambda: self._receiving.processes,
        )
        gauge(
            "draw_scp_outbox_objects",
            "Durable objects that are not announced yet",
            lambda: spool.backlog(self._objects.spool)[0],
        )
        gauge(
            "draw_scp_outbox_oldest_seconds",
            "Age of the oldest object that is not announced yet",
            lambda: spool.backlog(self._objects.spool)[1],
        )
        gauge(
            "draw_scp_transaction_segments",
            "Pieces of the transaction log that are not confirmed yet",
            lambda: len(spool.segments(self._objects.spool)),
        )
        gauge(
            "draw_scp_transaction_reserve_bytes",
            "Room on the storage volume that is kept for the transaction log",
            lambda: self._announcer.reserve_bytes,
        )
        gauge(
            "draw_scp_storage_used_bytes",
            "Bytes in the storage",
            lambda: self._space.used_bytes,
        )
        gauge(
            "draw_scp_storage_quota_bytes",
            "Bytes that the storage may hold; +Inf without a quota",
            lambda: self._rules().limits.most_bytes or math.inf,
        )
        gauge(
            "draw_scp_storage_refusing",
            "Whether objects are refused for want of room: by quota, disk or inodes",
            lambda: float(self._space.shortage(self._rules().limits) is not None),
        )
        gauge(
            "draw_scp_storage_free_bytes",
            "Bytes that the storage volume still takes",
            lambda: self._space.free_bytes,
        )
        gauge(
            "draw_scp_broker_connected",
            "Whether announcements can leave now",
            lambda: float(self._announcer.connected),
        )


class _EffectiveConfig:
    """The configuration in force, with the values that this process's environment overrides."""

    def __init__(self, watch: ConfigWatch, settings: ScpSettings) -> None:
        self._watch = watch
        given = {
            "port": settings.scp_port,
            "host": settings.scp_host,
            "ae_title": settings.scp_ae_title,
            "trusted_proxies": settings.scp_trusted_proxies,
        }
        self._given = {name: value for name, value in given.items() if value is not None}
        self._seen = watch.current
        self._effective = self._with_given(self._seen)

    def current(self) -> LiveConfig:
        """Return the configuration in force; the same object until it changes."""
        live = self._watch.current
        if live is not self._seen:
            self._effective, self._seen = self._with_given(live), live
        return self._effective

    def _with_given(self, live: LiveConfig) -> LiveConfig:
        network = live.server.network.model_copy(update=self._given)
        server = live.server.model_copy(update={"network": network})
        return LiveConfig(live.version, server, live.allowed_peers)
