"""Metrics that every web server of the suite has."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class WebMetrics:
    """Counts requests and measures answers, by route and never by address.

    Args:
        service: how the names of the metrics begin after `draw_`.
    """

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self.requests = Counter(
            f"draw_{service}_requests",
            "Answered requests",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            f"draw_{service}_request_seconds",
            "Time until the answer began",
            ("method", "route"),
            registry=registry,
            buckets=(0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10),
        )
        self.unexpected_failures = Counter(
            f"draw_{service}_unexpected_failures",
            "Requests that failed for an unforeseen reason",
            registry=registry,
        )
        self.waiting = Gauge(
            f"draw_{service}_requests_waiting",
            "Requests that wait for their turn, by what they cost",
            ("kind",),
            registry=registry,
        )
        self.turned_away = Counter(
            f"draw_{service}_requests_turned_away",
            "Requests that got no turn: too many of one user, or others were served for too long",
            ("kind", "reason"),
            registry=registry,
        )

    def count_refusal(self, status: int) -> None:
        """Count an answer that was given before a request could be read."""
        self.requests.labels("other", "unread", str(status)).inc()
