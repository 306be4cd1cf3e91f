"""Metrics of the whole suite; every API replica shows the same, so use the maximum."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from draw_api.adapters.suite_observation import SuiteState
from draw_shared.storage.space import DiskRoom


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"draw_suite_{name}", words, labels=labels)


class SuiteMetrics(Collector):
    """Shows the last known state of database and broker; a scrape itself reads only the disk."""

    def __init__(
        self,
        state: Callable[[], SuiteState | None],
        depths: Callable[[], Mapping[str, int]],
        disk: Callable[[], DiskRoom | None],
    ) -> None:
        self._state = state
        self._depths = depths
        self._disk = disk

    @override
    def collect(self) -> Iterator[Metric]:
        state, depths = self._state(), self._depths()
        yield _single("database_up", "Whether PostgreSQL answers", float(state is not None))
        yield _single("broker_up", "Whether RabbitMQ answers", float(bool(depths)))
        yield _labelled("queue_messages", "Messages that wait, by queue", "queue", depths)
        yield from self._room()
        if state is not None:
            yield from _collect_state(state)

    def _room(self) -> Iterator[Metric]:
        disk = self._disk()
        if disk is not None:
            yield _single("disk_size_bytes", "Size of the storage volume", disk.total_bytes)
            yield _single("disk_free_bytes", "Room on the storage volume", disk.free_bytes)
            # Always shown, because rules name it; 0 of 0 is above no threshold.
            yield _single(
                "disk_inodes", "Inodes of the storage volume; 0: no fixed number", disk.total_inodes
            )
            yield _single("disk_free_inodes", "Inodes that are free", disk.free_inodes)


def _collect_state(state: SuiteState) -> Iterator[Metric]:
    yield _single("config_version", "Newest configuration", state.config_version)
    yield _single(
        "received_bytes_per_day", "Mean of the last seven days", state.received_bytes_per_day
    )
    replicas = _gauge(
        "replicas", "Processes by their heartbeat; gone ones for ten minutes", "service", "state"
    )
    for (service, process_state), number in state.replicas.items():
        replicas.add_metric([service, process_state], number)
    yield replicas
    yield _labelled("jobs", "Unfinished jobs", "state", state.jobs)
    yield _labelled(
        "oldest_job_seconds",
        "How long the oldest job in a state has been due",
        "state",
        state.oldest_job_seconds,
    )
    yield _labelled(
        "node_circuit_open",
        "Whether jobs wait because a remote node failed again and again",
        "node",
        state.circuits,
    )


def _single(name: str, words: str, value: float) -> GaugeMetricFamily:
    gauge = _gauge(name, words)
    gauge.add_metric([], value)
    return gauge


def _labelled(name: str, words: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    gauge = _gauge(name, words, label)
    for value, number in values.items():
        gauge.add_metric([value], float(number))
    return gauge
