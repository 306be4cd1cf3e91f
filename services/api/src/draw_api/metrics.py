"""Metrics of the API."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class ApiMetrics:
    """Counts requests and measures answers, by route and never by address."""

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
        self.unexpected_failures = Counter(
            "draw_api_unexpected_failures",
            "Requests that failed for an unforeseen reason",
            registry=registry,
        )
        self.waiting = Gauge(
            "draw_api_requests_waiting",
            "Requests that wait for their turn, by what they cost",
            ("kind",),
            registry=registry,
        )
        self.turned_away = Counter(
            "draw_api_requests_turned_away",
            "Requests that got no turn: too many of one user, or others were served for too long",
            ("kind", "reason"),
            registry=registry,
        )
        self.standing_query_runs = Counter(
            "draw_api_standing_query_runs",
            "Runs of standing queries that ended, by their outcome",
            ("outcome",),
            registry=registry,
        )

    def count_refusal(self, status: int) -> None:
        """Count an answer that was given before a request could be read."""
        self.requests.labels("other", "unread", str(status)).inc()
