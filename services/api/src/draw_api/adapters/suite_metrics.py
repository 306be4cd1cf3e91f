"""Metrics of the whole suite; every API replica shows the same, so use the maximum."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from draw_api.adapters.suite_observation import ObservedDestination, SuiteState
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
    yield _single(
        "standing_queries_failing",
        "Active standing queries of whose last two runs none found anything out",
        state.standing_queries_failing,
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
    yield from _collect_destinations(state.destinations)


def _collect_destinations(found: Mapping[str, ObservedDestination]) -> Iterator[Metric]:
    deliveries = _gauge("deliveries", "Deliveries that are not over", "destination", "state")
    held = _gauge(
        "destination_held_seconds",
        "How long a destination has been paused or draining, by an operator",
        "destination",
        "mode",
    )
    failover = _gauge(
        "failover_in_force",
        "Whether a group sends to another member than its first, and to which",
        "destination",
        "target",
    )
    for name, one in found.items():
        for delivery_state, number in one.deliveries.items():
            deliveries.add_metric([name, delivery_state], number)
        if one.mode != "active":
            held.add_metric([name, one.mode], one.held_seconds)
        if one.first is not None:
            target = one.in_force or one.first
            failover.add_metric([name, target], float(target != one.first))
    yield from (deliveries, held, failover)
    yield _labelled(
        "oldest_delivery_seconds",
        "Age of the oldest delivery that is not over",
        "destination",
        {name: one.oldest_seconds for name, one in found.items()},
    )
    yield _labelled(
        "oldest_failing_delivery_seconds",
        "Age of the oldest delivery that was tried in vain, or that nobody can take",
        "destination",
        {name: one.in_vain_seconds for name, one in found.items()},
    )
    yield _labelled(
        "destination_failures",
        "Failed tries in a row",
        "destination",
        {name: float(one.failures) for name, one in found.items()},
    )
    yield _labelled(
        "destination_last_success_seconds",
        "How long ago something has arrived at a destination",
        "destination",
        {
            name: one.last_success_seconds
            for name, one in found.items()
            if one.last_success_seconds is not None
        },
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
