"""The composition root of the DICOMweb service."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import FastAPI

from draw_dicomweb.adapters.index_queries import PostgresObjectIndex, PostgresSearchIndex
from draw_dicomweb.adapters.metadata_queries import PostgresMetadataRepository
from draw_dicomweb.adapters.object_files import ArchiveFiles
from draw_dicomweb.adapters.object_metadata import FileMetadataReader, FileValueSource
from draw_dicomweb.adapters.store_log import PostgresStoreLog
from draw_dicomweb.handlers.application import DicomwebDependencies, application
from draw_dicomweb.handlers.work import DicomwebWork
from draw_dicomweb.metrics import DicomwebMetrics
from draw_dicomweb.services.metadata import MetadataService
from draw_dicomweb.services.prebuilding import PrebuildService
from draw_dicomweb.services.retrieve import ObjectRetrieveService
from draw_dicomweb.services.search import SearchService
from draw_dicomweb.services.store import StoreRules
from draw_dicomweb.settings import DicomwebSettings
from draw_shared.access.authentication import Authentication
from draw_shared.access.recent_views import CollectedViews, RecentViews
from draw_shared.contracts.control import ControlSubject
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.db.audit_trail import PostgresAuditTrail
from draw_shared.db.credentials import PostgresCredentialRepository
from draw_shared.db.index_connections import IndexConnections
from draw_shared.db.session import Database
from draw_shared.dicom.transcoding.decoding import DecodingLimits
from draw_shared.dicom.transcoding.decoding_processes import DecodingProcesses
from draw_shared.dicom.transcoding.transcoder import Transcoder
from draw_shared.messaging.control import ControlListener
from draw_shared.messaging.publisher import Publisher
from draw_shared.runtime import logging
from draw_shared.runtime.config_watch import ConfigWatch, LiveConfig
from draw_shared.runtime.database_probe import DatabaseProbe
from draw_shared.runtime.health import Health
from draw_shared.runtime.heartbeat import Heartbeat, Pulse
from draw_shared.runtime.lifecycle import Lifecycle, State
from draw_shared.runtime.metrics import DatabasePool, service_registry, show_config
from draw_shared.runtime.periodic import Periodic
from draw_shared.runtime.schema_watch import SchemaWatch
from draw_shared.storage import spool
from draw_shared.storage.config_file import ConfigFile
from draw_shared.storage.ingest import Ingest
from draw_shared.storage.objects import ObjectStore
from draw_shared.storage.outbox import SpoolOutbox
from draw_shared.storage.reception import FilingRules, filing_rules
from draw_shared.storage.space import Space
from draw_shared.web.http_connection import ConnectionTimeouts
from draw_shared.web.server import WebServer

POOL_SIZE: Final = 20
PREBUILD_INTERVAL_SECONDS: Final = 1.0
SPACE_CHECK_INTERVAL_SECONDS: Final = 5.0
TIMEOUTS: Final = ConnectionTimeouts(least_bytes=64 * 1024)
"""An upload may take long, but it has to go on."""
UNKNOWN_VERSION: Final = "0"
"""Of a service that runs from its sources and is not installed."""


class DicomWeb:
    """One process of the service, constructed but not started."""

    def __init__(self, settings: DicomwebSettings) -> None:
        self._settings = settings
        self._version = _installed_version()
        self._registry = service_registry(
            service=settings.service, replica=settings.replica, version=self._version
        )
        self._metrics = DicomwebMetrics(self._registry)
        self._schema = SchemaWatch(self._registry)
        database_url = settings.database_url.get_secret_value()
        self._database = Database(database_url, pool_size=POOL_SIZE, plan_for_values=True)
        self._registry.register(DatabasePool(self._database))
        self._keyring = settings.keyring()
        self._recent_views = RecentViews()
        self._config = ConfigWatch(
            self._database, ConfigFile(settings.storage_root, settings.replica)
        )
        show_config(self._registry, self._config)
        self._probe = DatabaseProbe(self._database, self._schema)
        self._objects = ObjectStore(settings.storage_root, settings.replica)
        self._space = Space(settings.storage_root)
        broker_url = settings.broker_url.get_secret_value()
        self._publisher = Publisher(broker_url, client=settings.replica)
        self._outbox = SpoolOutbox(
            self._objects,
            self._publisher,
            lambda: self._filing_rules(self._config.current.server).layout,
            self._metrics.announced.inc,
        )
        self._metrics.unannounced.set_function(lambda: spool.backlog(self._objects.spool)[0])
        self._control = ControlListener(broker_url, client=settings.replica)
        self._control.on(ControlSubject.CONFIG, lambda _: self._config.wake())
        self._control.on(
            ControlSubject.STORAGE, lambda told: self._space.freed(told.freed_bytes or 0)
        )
        self._config.on_change(_apply_log_level)
        self._ruled = self._rules_of(self._config.current.server)
        self._decoding = DecodingProcesses(
            DecodingLimits(
                settings.transcoding_max_frame_bytes, settings.transcoding_max_inflated_bytes
            ),
            self._objects.spool,
        )
        self._index = IndexConnections(
            database_url,
            most=settings.dicomweb_query_connections,
            statement_seconds=settings.dicomweb_query_seconds,
        )

        self._files = ArchiveFiles(settings.storage_root, Transcoder(self._decoding))
        self._metadata_documents = MetadataService(self.work, FileMetadataReader(self._files))

    def application(self) -> FastAPI:
        """Return the ASGI application alone."""
        return self._application(Health(lambda: State.READY, {}))

    def lifecycle(self) -> Lifecycle:
        """Return the process's lifecycle: connections first, the web server last."""
        settings = self._settings
        checks = {"database": self._probe.there, "configuration": lambda: self._config.known}
        reasons = {
            "database": lambda: self._schema.reason,
            "configuration": lambda: self._config.trouble,
        }
        web = WebServer(
            self._application(Health(lambda: lifecycle.state, checks, reasons)),
            settings.dicomweb_host,
            settings.dicomweb_port,
            trusted_proxies=settings.dicomweb_trusted_proxies,
            most_each=settings.dicomweb_connections_per_address,
            times=TIMEOUTS,
            refused=self._metrics.count_refusal,
        )
        lifecycle = Lifecycle(
            [
                self._objects,
                self._probe,
                self._config,
                self._publisher,
                self._outbox,
                self._decoding,
                self._index,
                Periodic(
                    "metadata",
                    PrebuildService(self.work, self._metadata_documents).look,
                    interval_seconds=PREBUILD_INTERVAL_SECONDS,
                ),
                Periodic(
                    "space", self._space.measure, interval_seconds=SPACE_CHECK_INTERVAL_SECONDS
                ),
                self._control,
                Heartbeat(
                    self._database,
                    service=settings.service,
                    replica=settings.replica,
                    pulse=lambda: Pulse(
                        state=str(lifecycle.state),
                        address=f"{settings.dicomweb_host}:{web.port}",
                        config_version=self._config.current.version,
                        last_error=self._config.trouble,
                        details={"schema": self._schema.seen},
                    ),
                ),
                web,
            ],
            grace_seconds=settings.stop_seconds,
        )
        return lifecycle

    def _application(self, health: Health) -> FastAPI:
        files = self._files
        return application(
            DicomwebDependencies(
                work=self.work,
                search=SearchService(
                    PostgresSearchIndex(self._index), self._settings.dicomweb_max_results
                ),
                source=files,
                values=FileValueSource(
                    files,
                    self._decoding,
                    longest_frame=self._settings.transcoding_max_frame_bytes,
                ),
                metadata=self._metadata_documents,
                ingest=Ingest(
                    self._objects,
                    self._space,
                    self._outbox,
                    lambda: self._filing_rules(self._config.server),
                    self._settings.replica,
                ),
                store_rules=lambda: self._store_rules(self._config.server),
                health=health,
                registry=self._registry,
                metrics=self._metrics,
                version=self._version,
            )
        )

    @contextmanager
    def work(self) -> Iterator[DicomwebWork]:
        """Yield the use cases of one request in one transaction.

        Raises:
            DatabaseUnavailable: nothing was changed.
        """
        views = CollectedViews(self._recent_views)
        with self._database.session() as session:
            audit = PostgresAuditTrail(
                session, replica=self._settings.replica, keyring=self._keyring
            )
            index = PostgresObjectIndex(session)
            yield DicomwebWork(
                Authentication(PostgresCredentialRepository(session)),
                ObjectRetrieveService(index, audit, views),
                index,
                PostgresMetadataRepository(session),
                PostgresStoreLog(
                    session, audit, replica=self._settings.replica, keyring=self._keyring
                ),
            )
            session.commit()
        views.remember()

    def _filing_rules(self, server: ServerConfig) -> FilingRules:
        return self._rules(server)[1]

    def _store_rules(self, server: ServerConfig) -> StoreRules:
        return self._rules(server)[2]

    def _rules(self, server: ServerConfig) -> tuple[ServerConfig, FilingRules, StoreRules]:
        """Return the rules of a configuration, made once for each version."""
        ruled = self._ruled
        if ruled[0] is not server:
            ruled = self._ruled = self._rules_of(server)
        return ruled

    @staticmethod
    def _rules_of(server: ServerConfig) -> tuple[ServerConfig, FilingRules, StoreRules]:
        return server, filing_rules(server.storage), StoreRules.configured(server)


def _apply_log_level(live: LiveConfig) -> None:
    logging.set_level(live.server.logging.level)


def _installed_version() -> str:
    try:
        return version("draw-dicomweb")
    except PackageNotFoundError:
        return UNKNOWN_VERSION
