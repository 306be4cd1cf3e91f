"""Looks again at decisions that depend on files which could not be read.

A storage that is away makes nothing go nowhere: what the index alone decides is decided at once,
and the rest when the files are back, by the rules of the same version. What that adds is delivered;
what was decided before stays. After the limit a file that cannot be read counts as unreadable.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from draw_indexer.models import PostponedDecision, RuleDecision
from draw_indexer.ports.routing import PostponedTurn, RoutingFeedRepository
from draw_indexer.services.routing_headers import HeaderMemory
from draw_indexer.services.routing_report import DecisionReport
from draw_indexer.services.routing_rules import RulesInForce, RulesUnreadable
from draw_shared.routing.facts import ArchivedFacts, HeaderValues
from draw_shared.routing.subjects import ConditionSubject

log = structlog.get_logger()

AT_ONCE: Final = 50
"""Decisions of one transaction."""
MAX_VERSIONS: Final = 8
"""Compiled versions of the rules that are kept."""


class PostponedDecisionService:
    """Looks at decisions again."""

    def __init__(
        self, rows: RoutingFeedRepository, headers: HeaderMemory, report: DecisionReport
    ) -> None:
        self._rows = rows
        self._headers = headers
        self._report = report
        self._rules: dict[tuple[int, tuple[str, ...] | None], RulesInForce] = {}

    def look_again_at_some(self) -> bool:
        """Look at some decisions again; return whether there may be more.

        Raises:
            Transient: the database does not answer.
        """
        self._headers.forget()
        while True:
            with self._rows.postponed_turn(AT_ONCE) as turn:
                found: dict[int, RuleDecision | None] = {}
                for one in turn.decisions:
                    self._judge_into(found, turn, one)
                if not self._headers.lacks:
                    turn.finish(found)
                    break
            self._headers.fetch()
        self._report.tell_again([decision for decision in found.values() if decision is not None])
        return len(turn.decisions) == AT_ONCE

    def _judge_into(
        self,
        found: dict[int, RuleDecision | None],
        turn: PostponedTurn,
        one: PostponedDecision,
    ) -> None:
        """Add what the rules say now; nothing if another release's rules are asked, until late."""
        try:
            decision = self._judge(turn, one)
        except RulesUnreadable as error:
            log.warning("routing.rules_unreadable", version=one.routing_version, error=str(error))
            if not one.late:
                return
            decision = None
        found[one.id] = decision

    def _judge(self, turn: PostponedTurn, one: PostponedDecision) -> RuleDecision | None:
        decision = self._rules_of(turn, one).judge(
            one.trigger, one.uid, partial(self._facts, turn, one)
        )
        if decision is None:
            return None
        return replace(
            decision,
            applied=list(dict.fromkeys((*one.applied, *decision.applied))),
            deliveries=[d for d in decision.deliveries if d.destination not in one.destinations],
        )

    def _rules_of(self, turn: PostponedTurn, one: PostponedDecision) -> RulesInForce:
        named = None if one.rules is None else tuple(one.rules)
        key = one.routing_version, named
        if key not in self._rules:
            if len(self._rules) >= MAX_VERSIONS:
                self._rules.clear()
            self._rules[key] = RulesInForce(
                one.routing_version, turn.document(one.routing_version), named
            )
        return self._rules[key]

    def _facts(
        self, turn: PostponedTurn, one: PostponedDecision, wanted: Iterable[ConditionSubject]
    ) -> ArchivedFacts | None:
        read = self._read_at_last if one.late else self._headers.read
        return turn.facts(one.trigger, one.uid, wanted, read, one.occasion)

    def _read_at_last(self, path: str, subjects: Iterable[ConditionSubject]) -> HeaderValues:
        return replace(self._headers.read(path, tuple(subjects)), awaited=False)
