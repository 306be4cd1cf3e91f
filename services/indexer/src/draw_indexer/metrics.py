"""The indexer's metrics."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from draw_shared.contracts.transaction import FINDINGS
from draw_shared.dicom.encoding.flaws import Flaw

WEBHOOK_OUTCOMES: Final = ("delivered", "failed", "dead", "disabled")
OUTCOMES: Final = ("indexed", "unchanged", "conflict", "deleted")


class IndexerMetrics:
    """Batches, the results of their objects, and how far the index is behind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.batches = Counter(
            "draw_indexer_batches", "Batches written to the index", registry=registry
        )
        self.batch_objects = Histogram(
            "draw_indexer_batch_objects",
            "Objects in a batch",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self.seconds = Histogram(
            "draw_indexer_batch_seconds",
            "How long the steps of a batch took",
            ["step"],
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=registry,
        )
        self.objects = Counter(
            "draw_indexer_objects",
            "Announced objects by what they meant for the index",
            ["outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self.objects.labels(outcome)
        self.ambiguous = Counter(
            "draw_indexer_ambiguous_patients",
            "Studies that have made their patient several people under one identifier",
            registry=registry,
        )
        self.rows = Counter(
            "draw_indexer_rows", "Rows written, by table", ["table"], registry=registry
        )
        self.lag = Histogram(
            "draw_indexer_lag_seconds",
            "Time from the reception of an object to its commit in the index",
            buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
            registry=registry,
        )
        self.put_aside = Counter(
            "draw_indexer_messages_put_aside",
            "Messages that could not be handled: tried again later, or dead",
            ["queue", "outcome"],
            registry=registry,
        )
        self.read_failures = Counter(
            "draw_indexer_read_failures",
            "Headers that could not be read, or not to their end",
            ["reason"],
            registry=registry,
        )
        self.damaged_headers = Counter(
            "draw_indexer_damaged_headers",
            "Headers that break the rules of DICOM and were read all the same",
            ["reason"],
            registry=registry,
        )
        for flaw in Flaw:
            self.damaged_headers.labels(flaw.name.lower())
        self.readers_replaced = Counter(
            "draw_indexer_readers_replaced",
            "Processes for reading headers that died or were killed",
            registry=registry,
        )
        self.transactions = Counter(
            "draw_indexer_transactions", "Lines written to the transaction log", registry=registry
        )
        self.chained = Counter(
            "draw_indexer_transactions_chained",
            "Lines of the transaction log added to its hash chain",
            registry=registry,
        )
        self.findings = Counter(
            "draw_indexer_transaction_findings",
            "What was found in the transaction log that was not as it was sealed",
            ["kind"],
            registry=registry,
        )
        for kind in FINDINGS:
            self.findings.labels(kind)
        self.indexed = self.conflicts = self.dead = 0
        """Also counted here, for the heartbeat."""
        self.last_lag = 0.0
        self.webhooks = Counter(
            "draw_indexer_webhook_deliveries",
            "Webhook deliveries that were sent, by what came of it; disabled: webhooks",
            ["outcome"],
            registry=registry,
        )
        for outcome in WEBHOOK_OUTCOMES:
            self.webhooks.labels(outcome)
        self.cleaned_up = Counter(
            "draw_indexer_cleaned_up_objects",
            "Objects of studies that the clean-up has deleted",
            registry=registry,
        )
        self.announced_again = Counter(
            "draw_indexer_announced_again",
            "Objects announced again, because the broker had lost their announcement",
            registry=registry,
        )
        self.stable = Counter(
            "draw_indexer_stable", "Series and studies closed", ["level"], registry=registry
        )

    def show_reasons(self, reasons: Iterable[str]) -> None:
        """Show zero read failures for each of these reasons.

        Alerts look at increases: they notice the first failure only if there was a zero before.
        """
        for reason in reasons:
            self.read_failures.labels(reason)

    def count_batch(
        self,
        *,
        fresh: int,
        unchanged: int,
        conflicts: int,
        deleted: int,
        ambiguous: int,
        rows: Mapping[str, int],
    ) -> None:
        """Count one committed batch."""
        self.indexed += fresh
        self.conflicts += conflicts
        self.batches.inc()
        self.batch_objects.observe(fresh + unchanged + deleted)
        self.objects.labels("indexed").inc(fresh)
        self.objects.labels("unchanged").inc(unchanged)
        self.objects.labels("conflict").inc(conflicts)
        self.objects.labels("deleted").inc(deleted)
        self.ambiguous.inc(ambiguous)
        for table, number in rows.items():
            self.rows.labels(table).inc(number)

    def count_fault(self, kind: str) -> None:
        """Count a fault that the transaction log reports about itself."""
        self.findings.labels(kind).inc()

    def show_sealed(self, position: Callable[[], float]) -> None:
        """Show the position up to which the transaction log is known to be sealed."""
        self.gauge(
            "draw_indexer_transactions_sealed_position",
            "Place in the hash chain of the newest line of the transaction log known to be sealed",
            position,
        )

    def observe_lag(self, seconds: float) -> None:
        """Observe the time of one object from reception to commit."""
        self.lag.observe(seconds)
        self.last_lag = seconds

    def count_put_aside(self, queue: str, outcome: str) -> None:
        """Count one message that was put aside."""
        self.dead += outcome == "dead"
        self.put_aside.labels(queue, outcome).inc()

    def gauge(self, name: str, words: str, value: Callable[[], float]) -> None:
        """Show `value` under `name` at each scrape."""
        Gauge(name, words, registry=self._registry).set_function(value)


class RoutingMetrics:
    """What rules of routing decided, and how far they are behind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.decisions = Counter(
            "draw_indexer_routing_decisions",
            "Series, studies and objects that a rule applied to or could not decide",
            registry=registry,
        )
        self.deliveries = Counter(
            "draw_indexer_routing_deliveries",
            "Deliveries that were planned: decisions by destinations",
            registry=registry,
        )
        self.undecided = Counter(
            "draw_indexer_routing_undecided",
            "How often a rule in force could not be decided, as a header could not be read",
            ["rule"],
            registry=registry,
        )
        self.lag = Gauge(
            "draw_indexer_routing_lag_seconds",
            "Age of the oldest change that rules were not asked about yet",
            registry=registry,
        )
        self.blocked = Gauge(
            "draw_indexer_routing_blocked",
            "Whether nothing is decided because this release cannot read the rules in force",
            registry=registry,
        )
        self.postponed = Gauge(
            "draw_indexer_routing_postponed",
            "Decisions that are looked at again, because a file cannot be read now",
            registry=registry,
        )
        self._rules: frozenset[str] = frozenset()

    def name_rules(self, names: Iterable[str]) -> None:
        """Show the rules in force, and no others."""
        named = frozenset(names)
        for gone in self._rules - named:
            self.undecided.remove(gone)
        for name in named:
            self.undecided.labels(name)
        self._rules = named

    def count(self, undecided: Iterable[str], deliveries: int) -> None:
        """Count one decision."""
        self.decisions.inc()
        self.count_again(undecided, deliveries)

    def count_again(self, undecided: Iterable[str], deliveries: int) -> None:
        """Count what looking at a decision again adds."""
        self.deliveries.inc(deliveries)
        for rule in undecided:
            # A batch may apply rules of another version.
            self._rules |= {rule}
            self.undecided.labels(rule).inc()
