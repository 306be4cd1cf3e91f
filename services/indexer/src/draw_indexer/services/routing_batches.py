"""Applies rules to series that are in the archive already, some at a time.

The position of a batch moves in the transaction that writes its decisions, so each series is
decided once, also when the process is killed. Whoever cancels a batch waits for one transaction.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from pydantic import ValidationError

from draw_indexer.models import RuleDecision, RunningBatch
from draw_indexer.ports.routing import BatchTurn, RoutingFeedRepository
from draw_indexer.services.routing_headers import HeaderMemory
from draw_indexer.services.routing_report import DecisionReport
from draw_indexer.services.routing_rules import RulesInForce, RulesUnreadable
from draw_shared.routing.batches import ArchiveStep, BatchCriteria
from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import ArchivedFacts
from draw_shared.routing.subjects import ConditionSubject
from draw_shared.wording import message

log = structlog.get_logger()

AT_ONCE: Final = 100
"""Series of one transaction."""


class RoutingBatchService:
    """Carries out batches."""

    def __init__(
        self, rows: RoutingFeedRepository, headers: HeaderMemory, report: DecisionReport
    ) -> None:
        self._rows = rows
        self._headers = headers
        self._report = report
        self._rules: tuple[RunningBatch, RulesInForce, BatchCriteria] | None = None

    def carry_out_some(self) -> bool:
        """Decide about some series of the oldest batch; return whether there was one.

        Raises:
            Transient: it is not possible now; nothing is passed over.
        """
        self._headers.forget()
        while True:
            with self._rows.batch_turn() as turn:
                if turn is None:
                    return False
                try:
                    rules, criteria = self._of(turn)
                except RulesUnreadable as error:
                    turn.fail(str(error))
                    log.warning(
                        "routing.batch_failed", batch_id=str(turn.batch.id), error=str(error)
                    )
                    return True
                step = turn.step(criteria, AT_ONCE)
                decisions = self._judge(turn, rules, step)
                if not self._headers.lacks:
                    turn.finish(decisions, step)
                    break
            self._headers.fetch()
        self._report.tell(decisions)
        if step.last:
            log.info("routing.batch_complete", batch_id=str(turn.batch.id))
        return True

    def _of(self, turn: BatchTurn) -> tuple[RulesInForce, BatchCriteria]:
        """Return the rules and criteria of a batch; RulesUnreadable if they cannot be read."""
        batch = turn.batch
        if self._rules is None or self._rules[0] != batch:
            stored = turn.document(batch.routing_version)
            rules = RulesInForce(batch.routing_version, stored, batch.rules)
            try:
                criteria = BatchCriteria.model_validate(batch.criteria)
            except ValidationError as error:
                raise RulesUnreadable(
                    message("this release cannot read the criteria of the batch")
                ) from error
            self._rules = batch, rules, criteria
        return self._rules[1:]

    def _judge(self, turn: BatchTurn, rules: RulesInForce, step: ArchiveStep) -> list[RuleDecision]:
        decisions = []
        for uid in step.series:
            decision = rules.decide(Trigger.SERIES_COMPLETE, uid, partial(self._facts, turn, uid))
            if decision is not None:
                decisions.append(replace(decision, batch_id=turn.batch.id))
        return decisions

    def _facts(
        self, turn: BatchTurn, uid: str, wanted: Iterable[ConditionSubject]
    ) -> ArchivedFacts | None:
        return turn.facts(Trigger.SERIES_COMPLETE, uid, wanted, self._headers.read, None)
