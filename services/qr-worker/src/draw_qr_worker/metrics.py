"""The worker's metrics."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

ENDS = ("delivered", "partial", "failed", "superseded")
"""How deliveries end."""


class WorkerMetrics:
    """Jobs executed and jobs running."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.executions = Counter(
            "draw_qr_worker_executions",
            "Executions of jobs by how they ended",
            ["kind", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "draw_qr_worker_execution_seconds",
            "How long executions took",
            ["kind"],
            buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600),
            registry=registry,
        )
        self.running = Gauge(
            "draw_qr_worker_running_jobs", "Jobs that run in this process", registry=registry
        )
        self.taken_back = Counter(
            "draw_qr_worker_jobs_taken_back",
            "Jobs taken back from workers whose lease ran out",
            registry=registry,
        )
        self.announced = Counter(
            "draw_qr_worker_announced",
            "Objects fetched by C-GET, announced and confirmed by the broker",
            registry=registry,
        )
        self.unannounced = Gauge(
            "draw_qr_worker_outbox_objects",
            "Durable objects that are not announced yet",
            registry=registry,
        )

        self._deliveries_ended = Counter(
            "draw_qr_worker_deliveries_ended",
            "Deliveries that this process has seen end, by how they ended",
            ["destination", "outcome"],
            registry=registry,
        )

    def delivery_ended(self, destination: str, outcome: str) -> None:
        """Count the end of a delivery."""
        self._deliveries_ended.labels(destination, outcome).inc()

    def show_destinations(self, destinations: Iterable[str]) -> None:
        """Show zero ends of deliveries to each destination, for the alert as below."""
        for destination in destinations:
            for outcome in ENDS:
                self._deliveries_ended.labels(destination, outcome)

    def show_outcomes(self, kinds: Iterable[str], outcomes: Iterable[str]) -> None:
        """Show zero executions for each pair of kind and outcome.

        An alert looks at the increase: it notices the first execution only if there was a zero
        before.
        """
        ends = list(outcomes)
        for kind in kinds:
            for outcome in ends:
                self.executions.labels(kind, outcome)

    def executed(self, kind: str, outcome: str, seconds: float) -> None:
        """Count one execution."""
        self.executions.labels(kind, outcome).inc()
        self.seconds.labels(kind).observe(seconds)
