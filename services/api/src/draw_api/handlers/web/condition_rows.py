"""The conditions of a rule as rows of a form, and as text.

A rule whose conditions are one list, all or any of which must hold, is a list of rows; any other is
text in the form of the document. What rows cannot say exactly is never shown as rows.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from draw_api.handlers.web.forms import lines
from draw_api.handlers.web.languages import _
from draw_api.handlers.web.visitor import CheckedForm
from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.routing.document import MAX_CONDITIONS_TOGETHER, Operator
from draw_shared.routing.subjects import MAX_SUBJECT_LENGTH, ValueKind, subject_of
from draw_shared.wording import message

JOINTS: Final = ("all", "any")
FIELDS: Final = frozenset({"subject", "operator", "value", "case_sensitive", "of"})
NUMBER: Final = re.compile(r"-?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?")
ROW: Final = re.compile("0|[1-9][0-9]{0,3}")
"""The number of a row in the name of a field."""
SCALARS: Final = (str, int, float)
Stored = Mapping[str, Any]
"""A condition in its stored form."""


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """One comparison as the form has it."""

    negated: bool = False
    subject: str = ""
    operator: str = Operator.EQUALS.value
    value: str = ""
    case_sensitive: bool = False
    of: str = ""

    @property
    def empty(self) -> bool:
        """Whether nothing was typed in it."""
        return not (self.subject or self.value)


@dataclass(frozen=True, slots=True)
class ConditionList:
    """Rows, and whether all or any must hold; none: the rule always applies."""

    joined: str = "all"
    rows: Sequence[ConditionRow] = ()

    @property
    def typed(self) -> list[int]:
        """The places of the rows in which something was typed."""
        return [place for place, row in enumerate(self.rows) if not row.empty]

    def stored(self, before: Stored | None) -> dict[str, Any] | None:
        """Return the condition, in the form that it had before if it says the same."""
        parts = [_stored_row(self.rows[place]) for place in self.typed]
        if before is not None and list_of(before) == ConditionList(
            self.joined, [self.rows[place] for place in self.typed]
        ):
            return dict(before)
        if len(parts) == 1:
            return parts[0]
        return {self.joined: parts} if parts else None

    def row_of(self, steps: Sequence[str]) -> tuple[int, str] | None:
        """Return the row and field that a place within the condition means; None: neither."""
        rest = [step for step in steps if step != "not"]
        place = 0
        if rest and rest[0] in JOINTS:
            place = int(rest[1]) if len(rest) > 1 and rest[1].isdecimal() else len(self.typed)
            rest = rest[2:]
        if place >= len(self.typed) or len(rest) == 0 or rest[0] not in FIELDS:
            return None
        return self.typed[place], rest[0]


def list_of(condition: object) -> ConditionList | None:
    """Return the rows that say exactly the same as a condition; None if there are none."""
    if condition is None:
        return ConditionList()
    if not isinstance(condition, Mapping):
        return None
    joined = next((one for one in JOINTS if set(condition) == {one}), None)
    parts = [condition] if joined is None else condition[joined]
    if not isinstance(parts, list) or not 1 <= len(parts) <= MAX_CONDITIONS_TOGETHER:
        return None
    rows = [row for row in map(_row_of, parts) if row is not None]
    return ConditionList(joined or "all", rows) if len(rows) == len(parts) else None


def list_in(form: CheckedForm) -> ConditionList:
    """Return the rows that a form has."""
    numbers = sorted(int(one) for one in form.beginning("subject.") if ROW.fullmatch(one))
    rows = [
        ConditionRow(
            negated=form.has(f"not.{number}"),
            subject=form.text(f"subject.{number}")[: MAX_SUBJECT_LENGTH + 1],
            operator=form.text(f"operator.{number}") or Operator.EQUALS.value,
            value=form.text(f"value.{number}"),
            case_sensitive=form.has(f"case_sensitive.{number}"),
            of=form.text(f"of.{number}"),
        )
        for number in numbers[: MAX_CONDITIONS_TOGETHER + 1]
    ]
    joined = form.text("joined")
    return ConditionList(joined if joined in JOINTS else "all", rows)


def text_of(condition: Stored | None) -> str:
    """Return a condition as the text that `condition_in` reads."""
    if condition is None:
        return ""
    return json.dumps(_brief(condition), indent=2, ensure_ascii=False)


def condition_in(text: str) -> Any:  # noqa: ANN401 - whatever was typed
    """Return what a text says, which may be no condition; None if it is empty.

    Raises:
        Invalid: it is not JSON.
    """
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = message(
            "is not JSON: line %(line)s, column %(column)s", line=error.lineno, column=error.colno
        )
    except (ValueError, RecursionError):
        problem = message("is not JSON that can be read")
    raise Invalid([FieldProblem("when", problem)])


def _brief(condition: Any) -> Any:  # noqa: ANN401 - any part of a condition
    """Return a stored condition without what is understood by itself."""
    if isinstance(condition, list):
        return [_brief(one) for one in condition]
    if not isinstance(condition, Mapping):
        return condition
    usual: dict[str, Any] = {"case_sensitive": False, "of": None, "days": []}
    return {
        name: _brief(value)
        for name, value in condition.items()
        if name not in usual or value != usual[name]
    }


def _row_of(condition: object) -> ConditionRow | None:
    negated = isinstance(condition, Mapping) and set(condition) == {"not"}
    inner = condition["not"] if negated else condition  # type: ignore[index]  # it is a mapping
    if not isinstance(inner, Mapping) or not {"subject", "operator"} <= set(inner) <= FIELDS:
        return None
    value = inner.get("value")
    if not all(isinstance(one, SCALARS) for one in (value if isinstance(value, list) else [value])):
        return None
    row = ConditionRow(
        negated,
        str(inner["subject"]),
        str(inner["operator"]),
        _written(value),
        inner.get("case_sensitive") is True,
        str(inner.get("of") or ""),
    )
    whole = {"value": None, "case_sensitive": False, "of": None, **inner}
    same = _stored_row(row) == ({"not": whole} if negated else whole)
    return row if same and row.value.isprintable() else None


def _stored_row(row: ConditionRow) -> dict[str, Any]:
    made = {
        "subject": row.subject,
        "operator": row.operator,
        "value": _value(row),
        "case_sensitive": row.case_sensitive,
        "of": row.of or None,
    }
    return {"not": made} if row.negated else made


def _written(value: Any) -> str:  # noqa: ANN401 - a text, number, truth or list of them
    """Return a value as it is typed."""
    if isinstance(value, list):
        return ", ".join(map(_written, value))
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value)


def _value(row: ConditionRow) -> Any:  # noqa: ANN401 - whatever the subject has
    """Return what was typed as the subject needs it; what does not fit stays text."""
    text = row.value.strip()
    try:
        kind = subject_of(row.subject).kind
    except ValueError:
        return text
    if row.operator == Operator.IS_EMPTY or kind is ValueKind.FLAG:
        truths = {"": True, "yes": True, _("yes"): True, "no": False, _("no"): False}
        return truths.get(text.lower(), text)
    parts = lines(text) if row.operator == Operator.IS_ONE_OF else [text]
    values = [_number(one) if kind is ValueKind.NUMBER else one for one in parts]
    return values if row.operator == Operator.IS_ONE_OF else values[0]


def _number(text: str) -> str | float:
    if NUMBER.fullmatch(text) is None:
        return text
    return int(text) if text.removeprefix("-").isdecimal() else float(text)
