"""Metrics of the API."""

from prometheus_client import CollectorRegistry, Counter, Histogram


class ApiMetrics:
    """Counts what was asked and how long the answers took, by route and never by address."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "draw_api_requests",
            "Answered requests",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "draw_api_request_seconds",
            "Time until the answer began",
            ("method", "route"),
            registry=registry,
            buckets=(0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10),
        )
