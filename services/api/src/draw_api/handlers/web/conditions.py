"""Says the conditions of rules in words."""

import json
from collections.abc import Mapping
from typing import Any, Final

from draw_api.handlers.web.languages import N_, _, gettext
from draw_api.handlers.web.words import words
from draw_shared.routing.document import (
    NEGATIVE,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Not,
    Operator,
    TimeOfDay,
    TimeWindow,
    Trigger,
)
from draw_shared.routing.subjects import (
    ADDRESS,
    CALLED_AE,
    CALLING_AE,
    INSTANCES,
    MOVE_ORIGINATOR,
    NEW_INSTANCES,
    REASON,
    SIZE_BYTES,
    UNREADABLE,
)

TRIGGERS: Final[Mapping[str, str]] = {
    Trigger.SERIES_COMPLETE: N_("Series complete"),
    Trigger.STUDY_COMPLETE: N_("Study complete"),
    Trigger.INSTANCE: N_("Object received"),
}
OPERATORS: Final[Mapping[str, str]] = {
    Operator.EQUALS: N_("equals"),
    Operator.NOT_EQUALS: N_("does not equal"),
    Operator.LESS: N_("is less than"),
    Operator.LESS_OR_EQUAL: N_("is at most"),
    Operator.GREATER: N_("is more than"),
    Operator.GREATER_OR_EQUAL: N_("is at least"),
    Operator.CONTAINS: N_("contains"),
    Operator.DOES_NOT_CONTAIN: N_("does not contain"),
    Operator.STARTS_WITH: N_("starts with"),
    Operator.IS_EMPTY: N_("is empty"),
    Operator.IS_ONE_OF: N_("is one of"),
    Operator.MATCHES: N_("matches"),
}
SUBJECTS: Final[Mapping[str, str]] = {
    CALLING_AE: N_("calling AE title"),
    CALLED_AE: N_("called AE title"),
    ADDRESS: N_("address of the sender"),
    MOVE_ORIGINATOR: N_("AE title that asked for it by C-MOVE"),
    REASON: N_("reason of the completion"),
    INSTANCES: N_("number of objects"),
    NEW_INSTANCES: N_("number of new objects"),
    SIZE_BYTES: N_("size in bytes"),
    UNREADABLE: N_("header cannot be read"),
}
"""The names of what is known beside the data set."""


def condition_words(condition: Condition | None, *, inner: bool = False) -> str:
    """Return a condition in words; one of several within another stands in brackets."""
    if condition is None:
        return _("always")
    if isinstance(condition, Not):
        return _("not (%(condition)s)", condition=condition_words(condition.condition))
    if isinstance(condition, TimeOfDay):
        return window_words(condition.time_of_day)
    if isinstance(condition, AllOf | AnyOf):
        several = len(condition.conditions) > 1
        joint = _(" and ") if isinstance(condition, AllOf) else _(" or ")
        parts = [condition_words(one, inner=several) for one in condition.conditions]
        return f"({joint.join(parts)})" if inner and several else joint.join(parts)
    told = comparison_words(condition.subject, condition.operator, condition.value)
    return f"{told}{_case_words(condition)}{_several_words(condition)}"


def comparison_words(subject: str, operator: str, value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return what a comparison asks in words."""
    name = gettext(SUBJECTS.get(subject, "")) or subject
    if subject == UNREADABLE:
        return name if value else _("header can be read")
    if operator == Operator.IS_EMPTY:
        empty = _("%(subject)s is empty", subject=name)
        return empty if value is not False else _("%(subject)s is not empty", subject=name)
    values = value if isinstance(value, list) else [value]
    told = ", ".join(json.dumps(one, ensure_ascii=False) for one in values)
    return f"{name} {gettext(OPERATORS[operator])} {told}"


def window_words(window: TimeWindow) -> str:
    """Return a window of the day in words."""
    told = _(
        "from %(begin)s to %(end)s (%(zone)s)",
        begin=window.begin,
        end=window.end,
        zone=window.zone,
    )
    days = ", ".join(words(day) for day in window.days)
    return f"{told}, {days}" if days else told


def _case_words(condition: Comparison) -> str:
    return _(", capital and small letters differ") if condition.case_sensitive else ""


def _several_words(condition: Comparison) -> str:
    """Return how several values are looked at, if it is not the usual way of the operator."""
    if condition.of is None or condition.wants_all == (condition.operator in NEGATIVE):
        return ""
    return _(", every value") if condition.wants_all else _(", one value is enough")
