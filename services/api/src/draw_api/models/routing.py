"""The rules of routing with their versions."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Self

from pydantic import Field, JsonValue, model_validator

from draw_api.models.paging import Answer, Request
from draw_shared.contracts.identifiers import Uid
from draw_shared.routing.destinations import Destination, expand
from draw_shared.routing.document import (
    AllOf,
    AnyOf,
    Comparison,
    Not,
    RoutingDocument,
    RoutingRule,
    TimeOfDay,
    Trigger,
)
from draw_shared.routing.evaluation import ConditionSeen, RoutingExplanation, RuleOutcome
from draw_shared.routing.facts import RoutingFacts
from draw_shared.wording import message

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
    destinations: list[str] = Field(
        description="names of destinations that were added, removed or changed"
    )


class RoutingPreset(Answer):
    """A rule to begin with."""

    title: str
    rule: RoutingRule


class RoutingQuestion(Request):
    """What rules say about a series, study or object of the archive: one of these UIDs."""

    series_instance_uid: Uid | None = Field(default=None, description="a series that is complete")
    study_instance_uid: Uid | None = Field(default=None, description="a study that is complete")
    sop_instance_uid: Uid | None = Field(default=None, description="an object that was received")
    document: RoutingDocument | None = Field(
        default=None, description="rules that are not saved; null: those in force"
    )

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if len(self._given) != 1:
            raise ValueError(
                message("give one of series_instance_uid, study_instance_uid, sop_instance_uid")
            )
        return self

    @property
    def _given(self) -> list[tuple[Trigger, str]]:
        told = {
            Trigger.SERIES_COMPLETE: self.series_instance_uid,
            Trigger.STUDY_COMPLETE: self.study_instance_uid,
            Trigger.INSTANCE: self.sop_instance_uid,
        }
        return [(trigger, uid) for trigger, uid in told.items() if uid]

    @property
    def about(self) -> tuple[Trigger, str]:
        """The trigger of the rules that are asked, and the UID."""
        return self._given[0]


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
    destinations: list[str] = Field(
        description="where it would go, with the members of groups that stand for each of them"
    )
    rules: list[SeenRule]


def reasons(
    version: int | None,
    facts: RoutingFacts,
    found: RoutingExplanation,
    destinations: Iterable[Destination],
) -> RoutingReasons:
    """Return an explanation as it is answered, with the destinations that get deliveries."""
    return RoutingReasons(
        version=version,
        unreadable=facts.unreadable,
        destinations=expand(found.decision.destinations, {one.name: one for one in destinations}),
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
    """How two documents differ, by names of rules and of destinations."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    reordered: bool
    destinations: list[str]

    @property
    def any(self) -> bool:
        """Whether they differ."""
        names = (self.added, self.removed, self.changed, self.destinations)
        return self.reordered or any(names)

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
        if self.reordered:
            told.append("reordered")
        if self.destinations:
            told.append(f"destinations {', '.join(self.destinations)}")
        return "; ".join(told)


def rule_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> RuleChanges:
    """Return how two stored documents differ."""
    old, new = (_by_name(document, "rules") for document in (before, after))
    places, wanted = (_by_name(document, "destinations") for document in (before, after))
    return RuleChanges(
        added=[name for name in new if name not in old],
        removed=[name for name in old if name not in new],
        changed=[name for name in new if name in old and new[name] != old[name]],
        reordered=[name for name in new if name in old] != [name for name in old if name in new],
        destinations=[name for name in places | wanted if places.get(name) != wanted.get(name)],
    )


def _by_name(document: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return the parts of a stored document by their names; of another release, as far as known."""
    parts = document.get(field)
    return {
        one["name"]: one
        for one in (parts if isinstance(parts, list) else ())
        if isinstance(one, Mapping) and isinstance(one.get("name"), str)
    }


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
