"""Metrics of the API."""

from prometheus_client import CollectorRegistry, Counter

from draw_shared.web.metrics import WebMetrics


class ApiMetrics(WebMetrics):
    """Adds to those of a web server what the API does by itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "api")
        self.standing_query_runs = Counter(
            "draw_api_standing_query_runs",
            "Runs of standing queries that ended, by their outcome",
            ("outcome",),
            registry=registry,
        )
