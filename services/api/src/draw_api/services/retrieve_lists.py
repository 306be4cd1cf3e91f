"""Lists of what to retrieve: the meaning of each column, and the errors of each line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from draw_api.models.retrieves import MAX_ITEMS, WantedItem
from draw_api.services.csv_lists import (
    MAX_PROBLEMS,
    CsvList,
    damage,
    doubts_of,
    list_of,
    text_of,
    wrong,
)
from draw_api.services.list_columns import keyword_of
from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.contracts.validation_words import words_of
from draw_shared.wording import message

FIELDS: Final[Mapping[str, str]] = {
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "SOPInstanceUID": "sop_instance_uid",
    "PatientID": "patient_id",
    "AccessionNumber": "accession_number",
}
UIDS: Final = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
IDENTIFIERS: Final = ("patient_id", "accession_number")
LOOKS_LIKE_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")
UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
MAX_LENGTH: Final = 64
NO_SINGLE_VALUE: Final = frozenset("\\*?")


@dataclass(frozen=True, slots=True)
class RetrieveList:
    """The items of a list, and doubts about them."""

    items: list[WantedItem]
    doubts: list[FieldProblem]


@dataclass(slots=True)
class _ItemLines:
    """Lines that form one item: repeated lines, or instances of one series."""

    number: int
    """The first of these lines."""
    fields: Mapping[str, str]
    instances: dict[str, None] = field(default_factory=dict)


def list_of_csv(raw: bytes) -> RetrieveList:
    """Return the items in a file; raises like `list_of_text`, or if it is not text."""
    return list_of_text(text_of(raw))


def list_of_text(text: str) -> RetrieveList:
    """Return the items of a list; lines that name instances of one series become one item.

    The first line names the columns; without such a line there is one column of Study Instance
    UIDs. Columns without a meaning here are ignored.

    Raises:
        Invalid: lines cannot be used, each with its number and column.
    """
    found = list_of(text, _meaning, headless=_headless)
    if not found.columns:
        raise wrong("line 1", message("no column names a study, a patient or an accession number"))
    return RetrieveList(_items(found), doubts_of(found, IDENTIFIERS)[:MAX_PROBLEMS])


def _meaning(title: str) -> str:
    return FIELDS.get(keyword_of(title), "")


def _headless(cell: str) -> str:
    return "study_instance_uid" if LOOKS_LIKE_UID.fullmatch(cell) else ""


def _items(found: CsvList) -> list[WantedItem]:
    groups: dict[tuple[tuple[str, str], ...], _ItemLines] = {}
    problems: list[FieldProblem] = []
    for line in found.lines:
        fields = found.fields(line)
        bad = [
            FieldProblem(found.place(line, name), words)
            for name, value in fields.items()
            if (words := _fault(name, value))
        ]
        problems += bad
        if len(problems) >= MAX_PROBLEMS:
            break
        if bad:
            continue
        # Without the instance, so that instances of one series get the same key.
        instance = fields.pop("sop_instance_uid", "")
        key = (*fields.items(), ("instances", "some" if instance else ""))
        group = groups.setdefault(key, _ItemLines(line.number, fields))
        if instance:
            group.instances[instance] = None
        if len(groups) > MAX_ITEMS:
            raise wrong("body", message("the list has more than %(most)s items", most=MAX_ITEMS))
    items = [_item(group, problems) for group in groups.values()]
    if problems:
        raise Invalid(problems[:MAX_PROBLEMS])
    return [item for item in items if item is not None]


def _fault(name: str, value: str) -> str:
    """Return in words why a value cannot be used; empty if it can."""
    if len(value) > MAX_LENGTH:
        return message("this is longer than %(most)s characters", most=MAX_LENGTH)
    if name in UIDS and UID.fullmatch(value):
        return ""
    said = damage(value)
    if said:
        return said
    if name in UIDS:
        return message(
            "%(value)s is not a UID: a UID has digits and single dots between them", value=value
        )
    if NO_SINGLE_VALUE.intersection(value):
        return message(
            "%(value)s is not a single value: *, ? and \\ cannot be looked up", value=value
        )
    return ""


def _item(group: _ItemLines, problems: list[FieldProblem]) -> WantedItem | None:
    given: dict[str, str | list[str]] = dict(group.fields)
    if group.instances:
        given["sop_instance_uids"] = list(group.instances)
    try:
        return WantedItem.model_validate(given)
    except ValidationError as error:
        words = words_of(error.errors()[0])
        problems.append(FieldProblem(f"line {group.number}", words))
        return None
