"""The composition root: the only module that joins the worker's handlers to its adapters."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from importlib.metadata import version
from typing import Final
from zoneinfo import ZoneInfo

from draw_qr_worker.adapters.answered_objects import PostgresAnsweredObjectRepository
from draw_qr_worker.adapters.catalogue_queries import PostgresStoredObjectRepository
from draw_qr_worker.adapters.delivery_queries import PostgresDeliveryLedger
from draw_qr_worker.adapters.getting import GetAssociations
from draw_qr_worker.adapters.item_queries import PostgresItemRepository
from draw_qr_worker.adapters.job_ends import PostgresJobEnds
from draw_qr_worker.adapters.job_queries import PostgresJobQueue
from draw_qr_worker.adapters.list_answers import PostgresListAnswerRepository
from draw_qr_worker.adapters.node_queries import PostgresNodeStates, windows_of
from draw_qr_worker.adapters.prior_queries import PostgresPriorRepository
from draw_qr_worker.adapters.query_results import PostgresResultRepository
from draw_qr_worker.adapters.remote_node import RemoteNodes
from draw_qr_worker.adapters.sending import StoreAssociations
from draw_qr_worker.adapters.series_folders import SeriesFolders
from draw_qr_worker.adapters.task_queues import CeleryTaskStarter
from draw_qr_worker.handlers.clock import Tick
from draw_qr_worker.handlers.desired_state import DesiredStateHandler
from draw_qr_worker.handlers.job_ready import JobChanged, JobReady
from draw_qr_worker.metrics import WorkerMetrics
from draw_qr_worker.models import ClaimedJob, JobKind
from draw_qr_worker.services.batch_querying import BatchFindTask
from draw_qr_worker.services.deliveries import DeliveryPlanner
from draw_qr_worker.services.delivering import DeliverTask
from draw_qr_worker.services.dispatch import JobDispatcher
from draw_qr_worker.services.expectation import Expectations
from draw_qr_worker.services.jobs import FINAL, Execution, Task
from draw_qr_worker.services.node_rules import (
    circuit_after_failure,
    closed_until,
    congestion_after_refusal,
    next_opening,
    relieve_congestion,
    usable_nodes,
)
from draw_qr_worker.services.node_tests import EchoTask, ProbeTask
from draw_qr_worker.services.priors import PriorsTask
from draw_qr_worker.services.querying import FindTask
from draw_qr_worker.services.retries import RetryPolicy
from draw_qr_worker.services.retrieving import RetrieveTask
from draw_qr_worker.services.sending import SendTask
from draw_qr_worker.settings import QrWorkerSettings
from draw_shared.contracts.control import ControlSubject
from draw_shared.db.session import Database
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.dicom.transcoding.decoding import DecodingLimits
from draw_shared.dicom.transcoding.decoding_processes import DecodingProcesses
from draw_shared.dicom.transcoding.transcoder import Transcoder
from draw_shared.errors import Transient
from draw_shared.messaging.celery_tasks import CeleryTasks
from draw_shared.messaging.consumer import Consumer
from draw_shared.messaging.control import ControlListener
from draw_shared.messaging.publisher import Publisher
from draw_shared.messaging.topology import JOB_READY_WORK
from draw_shared.runtime.config_watch import ConfigWatch
from draw_shared.runtime.desired_state import DesiredState
from draw_shared.runtime.health import Health, HealthServer
from draw_shared.runtime.heartbeat import Heartbeat, Pulse
from draw_shared.runtime.lifecycle import Lifecycle
from draw_shared.runtime.metrics import DatabasePool, service_registry, show_config
from draw_shared.runtime.periodic import Periodic
from draw_shared.runtime.schema_watch import SchemaWatch
from draw_shared.storage import spool
from draw_shared.storage.config_file import ConfigFile
from draw_shared.storage.ingest import Ingest
from draw_shared.storage.objects import ObjectStore
from draw_shared.storage.outbox import SpoolOutbox
from draw_shared.storage.reception import FilingRules, filing_rules
from draw_shared.storage.removal import StorageFiles
from draw_shared.storage.space import Space

SPACE_CHECK_INTERVAL_SECONDS: Final = 5.0
EXPIRY_INTERVAL_SECONDS: Final = 30.0


class Worker:
    """One worker process, constructed but not started."""

    def __init__(self, settings: QrWorkerSettings) -> None:
        self._settings = settings
        self._database_ready = False
        self._registry = service_registry(
            service=settings.service, replica=settings.replica, version=version("draw-qr-worker")
        )
        self._metrics = WorkerMetrics(self._registry)
        self._metrics.show_outcomes(JobKind, FINAL)
        self._schema = SchemaWatch(self._registry)
        self._database = Database(
            settings.database_url.get_secret_value(), pool_size=settings.qr_worker_jobs + 4
        )
        self._config = ConfigWatch(
            self._database, ConfigFile(settings.storage_root, settings.replica)
        )
        self._registry.register(DatabasePool(self._database))
        show_config(self._registry, self._config)
        self._objects = ObjectStore(settings.storage_root, settings.replica)
        self._space = Space(settings.storage_root)
        self._publisher = Publisher(settings.broker_url.get_secret_value(), client=settings.replica)
        self._outbox = SpoolOutbox(
            self._objects,
            self._publisher,
            lambda: filing_rules(self._config.current.server.storage).layout,
            self._metrics.announced.inc,
        )
        self._desired = DesiredState(
            self._database, service=settings.service, replica=settings.replica
        )
        self._zone = _zone(settings.qr_worker_time_zone)
        self._jobs = PostgresJobQueue(
            self._database,
            worker=settings.replica,
            lease_seconds=settings.qr_worker_lease_seconds,
            usable=usable_nodes,
            closed_until=closed_until,
            after_refusal=congestion_after_refusal,
            zone=self._zone,
        )
        self._nodes = PostgresNodeStates(self._database, circuit_after_failure, relieve_congestion)
        self._results = PostgresResultRepository(self._database)
        self._list_answers = PostgresListAnswerRepository(self._database)
        self._decoding = DecodingProcesses(
            DecodingLimits(
                settings.transcoding_max_frame_bytes, settings.transcoding_max_inflated_bytes
            ),
            self._objects.spool,
        )
        self._deliveries = PostgresDeliveryLedger(self._database)
        self._planner = DeliveryPlanner(self._deliveries, self._metrics.delivery_ended, self._zone)
        execution = Execution(
            self._jobs,
            self._nodes,
            self._build_tasks(),
            RetryPolicy(random.SystemRandom().uniform, settings.qr_worker_back_off_seconds),
            self._metrics.executed,
            self._held_until,
        )
        self._dispatch = JobDispatcher(
            self._jobs,
            execution,
            slots=settings.qr_worker_jobs,
            lease_seconds=settings.qr_worker_lease_seconds,
        )
        self._metrics.running.set_function(lambda: self._dispatch.running)
        self._metrics.unannounced.set_function(lambda: spool.backlog(self._objects.spool)[0])

    def lifecycle(self) -> Lifecycle:
        """Return the process's lifecycle: connections first, then jobs, then handlers."""
        settings = self._settings
        seconds = settings.qr_worker_sweep_seconds
        tick = Tick(
            self._dispatch,
            self._sweep,
            taken_back=self._metrics.taken_back.inc,
            wanted=lambda: self._desired.wanted.running,
        )
        clock = Periodic("clock", tick.on_tick, interval_seconds=seconds)
        leases = Periodic("leases", self._dispatch.renew, interval_seconds=seconds)
        planning = Periodic("deliveries", lambda: self._plan(clock.wake), interval_seconds=seconds)

        def on_free_slot() -> None:
            clock.wake()
            planning.wake()

        self._dispatch.on_free_slot(on_free_slot)
        broker_url = settings.broker_url.get_secret_value()
        control = ControlListener(broker_url, client=settings.replica)
        control.on(ControlSubject.JOB, JobChanged(leases.wake).on_control)
        control.on(ControlSubject.CONFIG, lambda _: self._config.wake())
        control.on(ControlSubject.DESIRED_STATE, lambda _: self._desired.wake())
        control.on(ControlSubject.DELIVERY, lambda _: planning.wake())
        control.on(ControlSubject.STORAGE, lambda told: self._space.freed(told.freed_bytes or 0))
        health = HealthServer(
            settings.qr_worker_http_host,
            settings.qr_worker_http_port,
            Health(
                lambda: lifecycle.state,
                {
                    "database": self._database_answers,
                    "configuration": lambda: self._config.known,
                },
                {
                    "database": lambda: self._schema.reason,
                    "configuration": lambda: self._config.trouble,
                },
            ),
            self._registry,
        )
        heartbeat = Heartbeat(
            self._database,
            service=settings.service,
            replica=settings.replica,
            pulse=lambda: Pulse(
                state=self._desired.shown(lifecycle.state, busy=self._dispatch.running > 0),
                address=f"{settings.qr_worker_http_host}:{health.port}",
                config_version=self._config.current.version,
                details={"running_jobs": self._dispatch.running, "schema": self._schema.seen},
            ),
        )
        self._desired.on_change(
            DesiredStateHandler(self._dispatch, clock.wake, heartbeat.wake).on_change
        )
        lifecycle = Lifecycle(
            [
                health,
                self._objects,
                self._config,
                self._publisher,
                self._outbox,
                Periodic(
                    "space", self._space.measure, interval_seconds=SPACE_CHECK_INTERVAL_SECONDS
                ),
                Periodic("expiry", self._expire, interval_seconds=EXPIRY_INTERVAL_SECONDS),
                heartbeat,
                self._desired,
                leases,
                self._decoding,
                self._dispatch,
                clock,
                planning,
                control,
                Consumer(
                    broker_url,
                    JOB_READY_WORK,
                    JobReady(self._dispatch.take).on_deliveries,
                    client=settings.replica,
                ),
            ],
            grace_seconds=settings.stop_seconds,
        )
        return lifecycle

    def _build_tasks(self) -> dict[str, Task]:
        settings = self._settings
        trusts = PeerTrusts(settings.qr_worker_tls_ca_file, settings.qr_worker_tls_certificate_file)
        peers = RemoteNodes(self._own_ae, trusts)
        items = PostgresItemRepository(self._database, StorageFiles(settings.storage_root))
        ingest = Ingest(self._objects, self._space, self._outbox, self._rules, settings.replica)
        catalogue = PostgresStoredObjectRepository(self._database)
        stores = StoreAssociations(
            settings.storage_root, peers.own_ae, trusts, Transcoder(self._decoding)
        )
        return {
            JobKind.ECHO: EchoTask(peers, self._nodes),
            JobKind.PROBE: ProbeTask(peers, self._nodes),
            JobKind.FIND: FindTask(peers, self._results, self._nodes),
            JobKind.BATCH_FIND: BatchFindTask(peers, self._list_answers, self._nodes),
            JobKind.RETRIEVE: RetrieveTask(
                items,
                Expectations(
                    peers, self._nodes, max_studies=settings.qr_worker_max_studies_per_item
                ),
                peers,
                GetAssociations(peers, ingest, self._max_object_bytes),
                self._own_ae,
                arrival_seconds=settings.qr_worker_arrival_seconds,
            ),
            JobKind.SEND: SendTask(items, catalogue, stores),
            JobKind.DELIVER: DeliverTask(
                catalogue,
                PostgresAnsweredObjectRepository(self._database),
                stores,
                SeriesFolders(settings.storage_root, PostgresJobEnds(self._database).unfinished),
                CeleryTaskStarter(
                    CeleryTasks(settings.broker_url.get_secret_value(), client=settings.replica)
                ),
                PriorsTask(PostgresPriorRepository(self._database), peers, self._nodes),
            ),
        }

    def _rules(self) -> FilingRules:
        return filing_rules(self._config.server.storage)

    def _max_object_bytes(self) -> int:
        return self._config.server.storage.max_object_bytes

    def _held_until(self, job: ClaimedJob) -> datetime | None:
        """Return when the job's own weekly window opens; None if it is open."""
        now = job.now.astimezone(self._zone)
        opens = next_opening(windows_of(job.parameters.get("windows", ())), now)
        return opens if opens > now else None

    def _own_ae(self) -> str:
        return self._config.server.network.ae_title

    def _plan(self, wake: Callable[[], None]) -> None:
        if not self._desired.wanted.running:
            return
        if self._planner.plan():
            wake()
        self._metrics.show_destinations(self._deliveries.destinations())

    def _expire(self) -> None:
        self._results.expire()
        self._list_answers.expire()

    def _sweep(self) -> int:
        try:
            with self._database.session() as session:
                self._schema.look(session)
            taken_back = self._jobs.sweep()
            self._nodes.relieve()
        except Transient:
            self._database_ready = False
            raise
        self._database_ready = True
        return taken_back

    def _database_answers(self) -> bool:
        return self._database_ready


def _zone(name: str) -> tzinfo:
    local = datetime.now(UTC).astimezone().tzinfo
    return ZoneInfo(name) if name else local or UTC
