"""Metrics that every service has."""

import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Info,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.pool import QueuePool
from typing_extensions import override

from draw_shared.db.session import Database
from draw_shared.runtime import logging
from draw_shared.runtime.config_watch import ConfigWatch

CONNECTIONS: Final = "draw_service_database_connections"
CONNECTION_LIMIT: Final = "draw_service_database_connection_limit"


def service_registry(*, service: str, replica: str, version: str) -> CollectorRegistry:
    """Return a registry with process metrics and `draw_service_info`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    Info("draw_service", "Which service this is", registry=registry).info(
        {"service": service, "replica": replica, "version": version}
    )
    started = Gauge("draw_service_start_time_seconds", "Unix time of start", registry=registry)
    started.set(time.time())
    registry.register(_LogLines())
    return registry


def show_config(registry: CollectorRegistry, config: ConfigWatch) -> None:
    """Export the configuration version of this process and how up to date it is."""
    Gauge(
        "draw_service_config_version",
        "Version of the configuration in force; 0 while there is none",
        registry=registry,
    ).set_function(lambda: config.current.version)
    Gauge(
        "draw_service_config_database_away_seconds",
        "How long the database has not said what the configuration is; 0 while it does",
        registry=registry,
    ).set_function(lambda: config.away_seconds)


class _LogLines(Collector):
    """Exports the number of log lines that could not be written."""

    @override
    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "draw_service_log_lines_lost",
            "Lines of the log that could not be written",
            value=logging.lines_lost(),
        )


class DatabasePool(Collector):
    """Exports the number of PostgreSQL connections of this process, and their limit."""

    def __init__(self, database: Database) -> None:
        self._pool = database.engine.pool

    @override
    def collect(self) -> Iterator[Metric]:
        pool = self._pool
        if not isinstance(pool, QueuePool):
            return
        connections = GaugeMetricFamily(CONNECTIONS, "Connections to PostgreSQL", labels=["state"])
        connections.add_metric(["in_use"], pool.checkedout())
        connections.add_metric(["idle"], pool.checkedin())
        yield connections
        # The pool may overflow to twice its size: see Database.
        limit = GaugeMetricFamily(CONNECTION_LIMIT, "Most connections of this process")
        limit.add_metric([], 2 * pool.size())
        yield limit
