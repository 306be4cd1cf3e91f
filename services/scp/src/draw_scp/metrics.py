"""The metrics of the receiver."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
RETRIEVE_SECONDS = (0.01, 0.05, 0.25, 1, 2.5, 10, 30, 60, 300, 1800)
BYTES = (1e4, 1e5, 5e5, 1e6, 1e7, 1e8, 1e9)


class ScpMetrics:
    """Counts associations, operations, objects, and objects not announced yet."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.associations = Counter(
            "draw_scp_associations",
            "Associations by how they ended",
            ["outcome"],
            registry=registry,
        )
        self.rejections = Counter(
            "draw_scp_rejections",
            "Associations rejected, by source and reason of PS3.8 9.3.4",
            ["source", "reason"],
            registry=registry,
        )
        self.denials = Counter(
            "draw_scp_denials",
            "Associations and operations that were denied something for want of a right",
            registry=registry,
        )
        self.operations = Counter(
            "draw_scp_operations",
            "DIMSE operations answered, by final status",
            ["operation", "status"],
            registry=registry,
        )
        self.stored = Counter(
            "draw_scp_objects_stored", "Objects answered with success", registry=registry
        )
        self.bytes = Counter("draw_scp_stored_bytes", "Bytes of stored files", registry=registry)
        self.duplicates = Counter(
            "draw_scp_duplicates", "Objects that lay there already", registry=registry
        )
        self.seconds = Histogram(
            "draw_scp_store_seconds",
            "From the C-STORE request to the object being durable",
            buckets=SECONDS,
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "draw_scp_commit_seconds",
            "From the last byte to the object being durable",
            buckets=SECONDS,
            registry=registry,
        )
        self.announced = Counter(
            "draw_scp_announced", "Objects announced and confirmed by the broker", registry=registry
        )
        self.lines_lost = Counter(
            "draw_scp_transactions_lost",
            "Lines of the transaction log that could not be kept; a line of it says so",
            registry=registry,
        )
        self.find_seconds = Histogram(
            "draw_scp_find_seconds",
            "From the C-FIND request to its final response",
            buckets=SECONDS,
            registry=registry,
        )
        self.matches = Counter(
            "draw_scp_matches", "Identifiers answered to C-FIND", registry=registry
        )
        self.sub_operations = Counter(
            "draw_scp_sub_operations",
            "C-STORE sub-operations of C-GET and C-MOVE, by how they ended",
            ["operation", "outcome"],
            registry=registry,
        )
        self.retrieve_seconds = Histogram(
            "draw_scp_retrieve_seconds",
            "From the C-GET or C-MOVE request to its final response",
            ["operation"],
            buckets=RETRIEVE_SECONDS,
            registry=registry,
        )

    def gauge(self, name: str, words: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed at each scrape."""
        Gauge(name, words, registry=self._registry).set_function(value)
