"""Decides by the rules where what was received goes, and has it delivered.

Each change of the feed is looked at once: decisions and deliveries are written in the transaction
that moves routing's position in the feed. After a crash the same changes are looked at again, and
nothing of the first look is there. A completion whose series was deleted meanwhile decides nothing.

A file that cannot be read now holds nothing up: rules that depend on it are undecided, and the
decision is looked at again later (`routing_postponed`).

Rules that this release cannot read hold the position where it is: nothing is decided by other
rules than those in force, and nothing is passed over.

Concurrency: a timer thread of every indexer calls this; the position lets one at a time decide.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from draw_indexer.metrics import RoutingMetrics
from draw_indexer.models import FeedChange, RuleDecision
from draw_indexer.ports.headers import HeaderValueSource
from draw_indexer.ports.routing import RoutingFeedRepository, RoutingTurn
from draw_indexer.services.routing_batches import RoutingBatchService
from draw_indexer.services.routing_headers import HeaderMemory
from draw_indexer.services.routing_postponed import PostponedDecisionService
from draw_indexer.services.routing_report import DecisionReport
from draw_indexer.services.routing_rules import RulesInForce, RulesUnreadable
from draw_shared.routing.facts import ArchivedFacts
from draw_shared.routing.subjects import ConditionSubject

log = structlog.get_logger()

AT_ONCE: Final = 100
"""Changes of one transaction."""


class RoutingDecisionService:
    """Decides about what the change feed reports; called repeatedly."""

    def __init__(
        self,
        rows: RoutingFeedRepository,
        headers: HeaderValueSource,
        metrics: RoutingMetrics,
        wake_worker: Callable[[], None],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rows = rows
        self._headers = HeaderMemory(headers)
        self._metrics = metrics
        self._report = DecisionReport(metrics, wake_worker)
        self._postponed = PostponedDecisionService(rows, self._headers, self._report)
        self._batches = RoutingBatchService(rows, self._headers, self._report)
        self._stopping = stopping
        self._rules: RulesInForce | None = None
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why nothing is decided, in words; empty if it is."""
        return self._trouble

    def decide(self) -> None:
        """Decide about every change that was not looked at yet, then about what was postponed.

        At last come batches.

        Raises:
            Transient: it is not possible now; nothing is passed over.
        """
        try:
            # All others wait for the feed, also in their midst.
            while not self._stopping() and (
                self._decide_some()
                or self._postponed.look_again_at_some()
                or self._batches.carry_out_some()
            ):
                pass
        finally:
            self._metrics.lag.set(self._rows.lag_seconds())
            self._metrics.postponed.set(self._rows.postponed())

    def _decide_some(self) -> bool:
        """Decide about the next changes; return whether there may be more."""
        self._headers.forget()
        while True:
            with self._rows.turn() as turn:
                if turn is None:
                    return False
                rules = self._rules_in_force(turn)
                page = turn.changes(rules.triggers if rules else (), AT_ONCE)
                decisions = self._judge(turn, rules, page.changes) if rules else []
                if not self._headers.lacks:
                    turn.finish(decisions, page.until)
                    break
            self._headers.fetch()
        self._report.tell(decisions)
        return not page.whole

    def _rules_in_force(self, turn: RoutingTurn) -> RulesInForce | None:
        version = turn.version()
        if version is None:
            self._block(0, "")
            return None
        if self._rules is None or self._rules.version != version:
            try:
                self._rules = RulesInForce(version, turn.document(version))
            except RulesUnreadable as error:
                self._block(version, str(error))
                raise
            self._metrics.name_rules(self._rules.names)
        self._block(version, "")
        return self._rules

    def _block(self, version: int, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.error("routing.rules_unreadable", version=version)
        self._trouble = trouble
        self._metrics.blocked.set(bool(trouble))

    def _judge(
        self, turn: RoutingTurn, rules: RulesInForce, changes: Sequence[FeedChange]
    ) -> list[RuleDecision]:
        decisions = []
        for change in changes:
            decision = rules.decide(change.trigger, change.uid, partial(self._facts, turn, change))
            if decision is not None:
                decisions.append(replace(decision, sequence=change.sequence))
        return decisions

    def _facts(
        self, turn: RoutingTurn, change: FeedChange, wanted: Iterable[ConditionSubject]
    ) -> ArchivedFacts | None:
        return turn.facts(change.trigger, change.uid, wanted, self._headers.read, change.occasion)
