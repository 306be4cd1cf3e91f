"""The rules of routing with their versions."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field, JsonValue

from draw_api.models.paging import Answer, Request
from draw_shared.contracts.identifiers import Uid
from draw_shared.routing.document import (
    AllOf,
    AnyOf,
    Comparison,
    Not,
    RoutingDocument,
    RoutingRule,
    TimeOfDay,
)
from draw_shared.routing.evaluation import ConditionSeen, RoutingExplanation, RuleOutcome
from draw_shared.routing.facts import RoutingFacts

ConditionKind = Literal["all", "any", "not", "time_of_day", "comparison"]
KINDS: Final[Mapping[type, ConditionKind]] = {
    AllOf: "all",
    AnyOf: "any",
    Not: "not",
    TimeOfDay: "time_of_day",
    Comparison: "comparison",
}


class RoutingVersion(Answer):
    """The rules with their version."""

    version: int = Field(description="0: nobody has written rules yet", examples=[7])
    created_at: datetime | None
    created_by: str = Field(examples=["admin"])
    comment: str
    document: RoutingDocument


class RoutingHistoryEntry(Answer):
    """Who changed what, and when; compared with the version before."""

    version: int = Field(examples=[7])
    created_at: datetime
    created_by: str = Field(examples=["admin"])
    comment: str
    added: list[str] = Field(description="names of rules")
    removed: list[str]
    changed: list[str]
    reordered: bool = Field(description="whether rules that were there are in another order")


class RoutingPreset(Answer):
    """A rule to begin with."""

    title: str
    rule: RoutingRule


class RoutingQuestion(Request):
    """What rules say about a series."""

    series_instance_uid: Uid
    document: RoutingDocument | None = Field(
        default=None, description="rules that are not saved; null: those in force"
    )


class SeenCondition(Answer):
    """A condition with what it saw."""

    kind: ConditionKind
    subject: str = Field(description="of a comparison", examples=["SeriesDescription"])
    operator: str = Field(description="of a comparison", examples=["matches"])
    value: JsonValue = Field(description="of a comparison or a window of the day")
    seen: list[str] = Field(description="the values of the subject", examples=[["Topogram 0.6"]])
    held: bool | None = Field(description="null: a header that cannot be read decides")
    within: list["SeenCondition"] = Field(description="the conditions in it")


class SeenRule(Answer):
    """A rule with what came of it."""

    name: str
    outcome: RuleOutcome
    destinations: list[str]
    stop: bool
    condition: SeenCondition | None


class RoutingReasons(Answer):
    """What rules say about a series, and why; nothing is sent."""

    version: int | None = Field(description="of the rules; null: they are not saved")
    unreadable: bool = Field(description="whether the header of an object could not be read")
    destinations: list[str] = Field(description="where it would go")
    rules: list[SeenRule]


def reasons(version: int | None, facts: RoutingFacts, found: RoutingExplanation) -> RoutingReasons:
    """Return an explanation as it is answered."""
    return RoutingReasons(
        version=version,
        unreadable=facts.unreadable,
        destinations=list(found.decision.destinations),
        rules=[
            SeenRule(
                name=one.rule.name,
                outcome=one.outcome,
                destinations=list(one.rule.destinations),
                stop=one.rule.stop,
                condition=None if one.condition is None else _seen(one.condition),
            )
            for one in found.rules
        ],
    )


def _seen(found: ConditionSeen) -> SeenCondition:
    condition = found.condition
    compared = condition if isinstance(condition, Comparison) else None
    value: JsonValue = None if compared is None else compared.value
    if isinstance(condition, TimeOfDay):
        value = condition.time_of_day.model_dump(mode="json", by_alias=True)
    return SeenCondition(
        kind=KINDS[type(condition)],
        subject="" if compared is None else compared.subject,
        operator="" if compared is None else str(compared.operator),
        value=value,
        seen=list(found.seen),
        held=found.held,
        within=[_seen(one) for one in found.within],
    )


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """How two documents differ, by names of rules."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    reordered: bool

    @property
    def any(self) -> bool:
        """Whether they differ."""
        return bool(self.added or self.removed or self.changed or self.reordered)

    @property
    def words(self) -> str:
        """What has changed, for the transaction log."""
        told = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
            )
            if names
        ]
        return "; ".join([*told, "reordered"] if self.reordered else told)


def rule_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> RuleChanges:
    """Return how two stored documents differ."""
    old = {rule["name"]: rule for rule in before.get("rules", ())}
    new = {rule["name"]: rule for rule in after.get("rules", ())}
    return RuleChanges(
        added=[name for name in new if name not in old],
        removed=[name for name in old if name not in new],
        changed=[name for name in new if name in old and new[name] != old[name]],
        reordered=[name for name in new if name in old] != [name for name in old if name in new],
    )


MARKS: Final = {True: "yes", False: "no", None: "?"}


def told(found: RoutingReasons) -> Iterator[str]:
    """Yield an explanation as lines of text."""
    rules = "rules that are not saved" if found.version is None else f"version {found.version}"
    yield _printable(f"{rules}: {', '.join(found.destinations) or 'no destination'}")
    if found.unreadable:
        yield "the header of an object could not be read"
    for rule in found.rules:
        ends = ", and stops" if rule.stop else ""
        to = ", ".join(rule.destinations) or "nothing"
        yield _printable(f"{rule.name}: {rule.outcome.replace('_', ' ')} (to {to}{ends})")
        if rule.condition is not None:
            yield from _told(rule.condition, 1)


def _told(condition: SeenCondition, depth: int) -> Iterator[str]:
    shown = "; ".join(condition.seen) or "no value"
    words: str = condition.kind
    if condition.kind == "comparison":
        value = json.dumps(condition.value, ensure_ascii=False)
        words = f"{condition.subject} {condition.operator} {value}: {shown}"
    elif condition.kind == "time_of_day":
        words = f"time_of_day {json.dumps(condition.value, ensure_ascii=False)}: {shown}"
    yield _printable(f"{'  ' * depth}{MARKS[condition.held]:3} {words}")
    for one in condition.within:
        yield from _told(one, depth + 1)


def _printable(text: str) -> str:
    """Return text without what a terminal would obey: values come from anybody."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
