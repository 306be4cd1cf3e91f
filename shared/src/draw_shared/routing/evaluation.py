"""Evaluates the rules of one document: compiled once, cheap for each series, explained on demand.

A condition holds, does not hold, or is undecided: when the header of an object could not be read,
its elements may have values that nobody knows. What is undecided is neither sent nor passed over:
the decision names the rules, and the subject `unreadable` lets a rule say what is to happen.
While a file cannot be read now, that subject is undecided too, and rules wait behind an undecided
one that stops: later it may keep things from them.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final, assert_never, get_args
from zoneinfo import ZoneInfo

from draw_shared.routing.document import (
    NEGATIVE,
    ORDER,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Day,
    Not,
    Operator,
    RoutingDocument,
    RoutingRule,
    TimeOfDay,
    TimeWindow,
)
from draw_shared.routing.expressions import compile_expression
from draw_shared.routing.facts import RoutingFacts
from draw_shared.routing.subjects import ConditionSubject, ValueKind
from draw_shared.routing.values import PARSERS, Comparable

Held = bool | None
"""Whether a condition holds; None: undecided, because a header could not be read or not yet."""
Memory = list[bool | str | None]
"""What was found out about each different condition within one evaluation."""
Check = Callable[[RoutingFacts, Memory], Held]
Test = Callable[[str], bool]

UNKNOWN: Final = "unknown"
"""The place of a condition in the memory that was not looked at yet."""
MAX_SEEN_VALUES: Final = 16
MAX_SEEN_LENGTH: Final = 256
DAYS: Final[tuple[str, ...]] = get_args(Day)
COMPARE: Final[Mapping[Operator, Callable[[Comparable, Comparable], bool]]] = {
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
}


class RuleOutcome(StrEnum):
    """What came of one rule."""

    APPLIES = "applies"
    DOES_NOT_APPLY = "does_not_apply"
    UNDECIDED = "undecided"
    """It depends on a header that could not be read."""
    INACTIVE = "inactive"
    OTHER_TRIGGER = "other_trigger"
    NOT_REACHED = "not_reached"
    """An earlier rule has stopped, or may do so once a file can be read."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say."""

    destinations: tuple[str, ...]
    """In the order of the rules, each once."""
    outcomes: tuple[RuleOutcome, ...]
    """One for each rule of the document."""


@dataclass(frozen=True, slots=True)
class ConditionSeen:
    """A condition with what it saw; those within it, if it has some."""

    condition: Condition
    seen: tuple[str, ...]
    held: Held
    within: tuple["ConditionSeen", ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSeen:
    """A rule with what came of it; its conditions are looked at even if it was not reached."""

    rule: RoutingRule
    outcome: RuleOutcome
    condition: ConditionSeen | None


@dataclass(frozen=True, slots=True)
class RoutingExplanation:
    """A decision with its reasons."""

    decision: Decision
    rules: tuple[RuleSeen, ...]


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    rule: RoutingRule
    check: Check | None


class Evaluator:
    """The rules of one version of the document; safe to use from several threads."""

    def __init__(self, document: RoutingDocument) -> None:
        self._places: dict[tuple[object, ...], int] = {}
        self._checks: dict[int, Check] = {}
        self._subjects: set[ConditionSubject] = set()
        self._rules = [
            _CompiledRule(rule, None if rule.when is None else self._compile(rule.when))
            for rule in document.rules
        ]

    @property
    def subjects(self) -> frozenset[ConditionSubject]:
        """What the conditions look at: the facts that they need."""
        return frozenset(self._subjects)

    def evaluate(self, facts: RoutingFacts) -> Decision:
        """Return what the rules say about these facts."""
        memory: Memory = [UNKNOWN] * len(self._places)
        destinations: dict[str, None] = {}
        outcomes: list[RuleOutcome] = []
        stopped = False
        for compiled in self._rules:
            rule = compiled.rule
            outcome = RuleOutcome.NOT_REACHED if stopped else _outcome(compiled, facts, memory)
            outcomes.append(outcome)
            if outcome is RuleOutcome.APPLIES:
                destinations.update(dict.fromkeys(rule.destinations))
                stopped = rule.stop
            elif outcome is RuleOutcome.UNDECIDED and facts.awaited:
                stopped = rule.stop
        return Decision(tuple(destinations), tuple(outcomes))

    def explain(self, facts: RoutingFacts) -> RoutingExplanation:
        """Return what the rules say, and what each condition saw."""
        decision = self.evaluate(facts)
        memory: Memory = [UNKNOWN] * len(self._places)
        return RoutingExplanation(
            decision,
            tuple(
                RuleSeen(
                    compiled.rule,
                    outcome,
                    None
                    if compiled.rule.when is None
                    else self._look(compiled.rule.when, facts, memory),
                )
                for compiled, outcome in zip(self._rules, decision.outcomes, strict=True)
            ),
        )

    def _compile(self, condition: Condition) -> Check:
        match condition:
            case AllOf():
                check = _all_of([self._compile(inner) for inner in condition.conditions])
            case AnyOf():
                check = _any_of([self._compile(inner) for inner in condition.conditions])
            case Not():
                check = _not(self._compile(condition.condition))
            case TimeOfDay():
                check = _within(condition.time_of_day)
            case Comparison():
                check = self._comparison(condition)
            case _:
                assert_never(condition)
        self._checks[id(condition)] = check
        return check

    def _comparison(self, comparison: Comparison) -> Check:
        """Return the check of a comparison; equal ones are looked at once in an evaluation."""
        key = (
            comparison.about.name,
            comparison.operator,
            repr(comparison.value),
            comparison.case_sensitive,
            comparison.wants_all,
        )
        self._subjects.add(comparison.about)
        place = self._places.setdefault(key, len(self._places))
        return _remembering(place, _comparing(comparison))

    def _look(self, condition: Condition, facts: RoutingFacts, memory: Memory) -> ConditionSeen:
        """Return a condition with what it saw, and all within it."""
        inner: Sequence[Condition] = ()
        seen: tuple[str, ...] = ()
        if isinstance(condition, AllOf | AnyOf):
            inner = condition.conditions
        elif isinstance(condition, Not):
            inner = (condition.condition,)
        elif isinstance(condition, TimeOfDay):
            local = facts.at.astimezone(ZoneInfo(condition.time_of_day.zone))
            seen = (f"{DAYS[local.weekday()]} {local:%H:%M}",)
        else:
            seen = _seen(condition, facts)
        return ConditionSeen(
            condition,
            seen,
            self._checks[id(condition)](facts, memory),
            tuple(self._look(one, facts, memory) for one in inner),
        )


def _outcome(compiled: _CompiledRule, facts: RoutingFacts, memory: Memory) -> RuleOutcome:
    rule = compiled.rule
    if not rule.active:
        return RuleOutcome.INACTIVE
    if rule.trigger is not facts.trigger:
        return RuleOutcome.OTHER_TRIGGER
    held = True if compiled.check is None else compiled.check(facts, memory)
    if held is None:
        return RuleOutcome.UNDECIDED
    return RuleOutcome.APPLIES if held else RuleOutcome.DOES_NOT_APPLY


def _all_of(checks: Sequence[Check]) -> Check:
    def check(facts: RoutingFacts, memory: Memory) -> Held:
        held: Held = True
        for one in checks:
            found = one(facts, memory)
            if found is False:
                return False
            if found is None:
                held = None
        return held

    return check


def _any_of(checks: Sequence[Check]) -> Check:
    def check(facts: RoutingFacts, memory: Memory) -> Held:
        held: Held = False
        for one in checks:
            found = one(facts, memory)
            if found:
                return True
            if found is None:
                held = None
        return held

    return check


def _not(inner: Check) -> Check:
    def check(facts: RoutingFacts, memory: Memory) -> Held:
        found = inner(facts, memory)
        return None if found is None else not found

    return check


def _remembering(place: int, check: Callable[[RoutingFacts], Held]) -> Check:
    def remembered(facts: RoutingFacts, memory: Memory) -> Held:
        found = memory[place]
        if found is UNKNOWN:
            found = memory[place] = check(facts)
        return found  # type: ignore[return-value]  # UNKNOWN is the only text

    return remembered


def _comparing(comparison: Comparison) -> Callable[[RoutingFacts], Held]:
    about = comparison.about
    if about.kind is ValueKind.FLAG:
        return _flag(wanted=bool(comparison.value))
    if comparison.operator is Operator.IS_EMPTY:
        return _emptiness(about.name, can_hide=about.can_hide, wanted=bool(comparison.value))
    test = _test(comparison)
    name, can_hide = about.name, about.can_hide
    wants_all, absent = comparison.wants_all, comparison.operator in NEGATIVE

    def check(facts: RoutingFacts) -> Held:
        values = facts.values.get(name, ())
        for value in values:
            if test(value) is not wants_all:
                return not wants_all
        if can_hide and facts.hide:
            return None
        return wants_all if values else absent

    return check


def _flag(*, wanted: bool) -> Callable[[RoutingFacts], Held]:
    def check(facts: RoutingFacts) -> Held:
        if facts.awaited and not facts.unreadable:
            return None
        return facts.unreadable is wanted

    return check


def _emptiness(name: str, *, can_hide: bool, wanted: bool) -> Callable[[RoutingFacts], Held]:
    def check(facts: RoutingFacts) -> Held:
        if facts.values.get(name):
            return not wanted
        return None if can_hide and facts.hide else wanted

    return check


def _test(comparison: Comparison) -> Test:
    """Return the test of one value."""
    kind, how, given = comparison.about.kind, comparison.operator, comparison.value
    if kind is not ValueKind.TEXT:
        return _ordered_test(kind, how, given)
    if how is Operator.MATCHES:
        return compile_expression(str(given), case_sensitive=comparison.case_sensitive)
    fold: Callable[[str], str] = str if comparison.case_sensitive else str.casefold
    if how is Operator.IS_ONE_OF:
        choices = frozenset(fold(str(one)) for one in given) if isinstance(given, list) else ()
        return lambda value: fold(value) in choices
    wanted = fold(str(given))
    tests: Mapping[Operator, Test] = {
        Operator.EQUALS: lambda value: fold(value) == wanted,
        Operator.NOT_EQUALS: lambda value: fold(value) != wanted,
        Operator.CONTAINS: lambda value: wanted in fold(value),
        Operator.DOES_NOT_CONTAIN: lambda value: wanted not in fold(value),
        Operator.STARTS_WITH: lambda value: fold(value).startswith(wanted),
    }
    return tests[how]


def _ordered_test(kind: ValueKind, how: Operator, given: object) -> Test:
    """Return the test of a number, date, time or age; what is none differs from every one."""
    parse = PARSERS[kind]

    def comparable(value: object) -> Comparable | None:
        return value if isinstance(value, int | float) else parse(str(value))

    if how is Operator.IS_ONE_OF:
        choices = frozenset(map(comparable, given)) if isinstance(given, list) else frozenset()
        return lambda value: (found := parse(value)) is not None and found in choices
    wanted = comparable(given)
    if how in ORDER and wanted is not None:
        compare = COMPARE[how]
        return lambda value: (found := parse(value)) is not None and compare(found, wanted)
    if how is Operator.NOT_EQUALS:
        return lambda value: parse(value) != wanted
    return lambda value: parse(value) == wanted


def _within(window: TimeWindow) -> Check:
    zone = ZoneInfo(window.zone)
    begin, end = time.fromisoformat(window.begin), time.fromisoformat(window.end)
    days = frozenset(DAYS.index(day) for day in window.days) or frozenset(range(len(DAYS)))

    def check(facts: RoutingFacts, _: Memory) -> Held:
        local = facts.at.astimezone(zone)
        now, day = local.time(), local.weekday()
        if begin < end:
            return begin <= now < end and day in days
        if now >= begin:
            return day in days
        return now < end and _yesterday(local) in days

    return check


def _yesterday(local: datetime) -> int:
    return (local.date() - timedelta(days=1)).weekday()


def _seen(comparison: Comparison, facts: RoutingFacts) -> tuple[str, ...]:
    """Return the values of a comparison's subject as they are shown."""
    about = comparison.about
    if about.kind is ValueKind.FLAG:
        unknown = facts.awaited and not facts.unreadable
        return () if unknown else (str(facts.unreadable).lower(),)
    return tuple(
        value if len(value) <= MAX_SEEN_LENGTH else f"{value[: MAX_SEEN_LENGTH - 1]}…"
        for value in facts.values.get(about.name, ())[:MAX_SEEN_VALUES]
    )
