"""Lists of what shall be retrieved: which column says what, and what is wrong in which line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from draw_api.models.failures import FieldProblem, Invalid
from draw_api.models.retrieves import MOST_ITEMS, WantedItem
from draw_api.models.wording import words_of
from draw_api.services.csv_lists import (
    MAX_PROBLEMS,
    CsvList,
    Line,
    damage,
    doubts_of,
    list_of,
    text_of,
    wrong,
)
from draw_api.services.list_columns import keyword_of

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
    """What a list asks for, and what in it may not be what was meant."""

    items: list[WantedItem]
    doubts: list[FieldProblem]


def list_of_csv(raw: bytes) -> RetrieveList:
    """Return what a file of bytes lists; raises as `list_of_text`, or when it is no text."""
    return list_of_text(text_of(raw))


def list_of_text(text: str) -> RetrieveList:
    """Return the items of a list; lines that name instances of one series become one item.

    The first line names the columns; without such a line there is one column of Study
    Instance UIDs. Columns that mean nothing here are ignored.

    Raises:
        Invalid: lines cannot be understood, each with its number and column.
    """
    found = list_of(text, _meaning, headless=_headless)
    if not found.columns:
        raise wrong("line 1", "no column names a study, a patient or an accession number")
    return RetrieveList(_items(found), doubts_of(found, IDENTIFIERS)[:MAX_PROBLEMS])


def _meaning(title: str) -> str:
    return FIELDS.get(keyword_of(title), "")


def _headless(cell: str) -> str:
    return "study_instance_uid" if LOOKS_LIKE_UID.fullmatch(cell) else ""


def _items(found: CsvList) -> list[WantedItem]:
    items: dict[tuple[tuple[str, str], ...], WantedItem] = {}
    problems: list[FieldProblem] = []
    for line in found.lines:
        fields = found.fields(line)
        bad = [
            FieldProblem(found.place(line, name), message)
            for name, value in fields.items()
            if (message := _fault(name, value))
        ]
        item = None if bad else _item(line, fields, bad)
        problems += bad
        if item is None:
            continue
        # Without the instance, so that those of one series meet.
        key = tuple((name, fields[name]) for name in fields if name != "sop_instance_uid")
        key += (("instances", ""),) if item.sop_instance_uids else ()
        known = items.get(key)
        items[key] = item if known is None else _joined(known, item)
    if problems:
        raise Invalid(problems[:MAX_PROBLEMS])
    if len(items) > MOST_ITEMS:
        raise wrong("body", f"the list has more than {MOST_ITEMS} items")
    return list(items.values())


def _fault(name: str, value: str) -> str:
    """Return in words why a value cannot be used; empty if it can."""
    if len(value) > MAX_LENGTH:
        return f"this is longer than {MAX_LENGTH} characters"
    if name in UIDS and UID.fullmatch(value):
        return ""
    said = damage(value)
    if said:
        return said
    if name in UIDS:
        return f"{value} is no UID: a UID has digits and single dots between them"
    if NO_SINGLE_VALUE.intersection(value):
        return f"{value} is no single value: *, ? and \\ cannot be looked up"
    return ""


def _item(line: Line, fields: Mapping[str, str], bad: list[FieldProblem]) -> WantedItem | None:
    given: dict[str, str | list[str]] = dict(fields)
    instance = given.pop("sop_instance_uid", "")
    if instance:
        given["sop_instance_uids"] = [str(instance)]
    try:
        return WantedItem.model_validate(given)
    except ValidationError as error:
        message = words_of(error.errors()[0])
        bad.append(FieldProblem(f"line {line.number}", message))
        return None


def _joined(known: WantedItem, item: WantedItem) -> WantedItem:
    both = dict.fromkeys([*known.sop_instance_uids, *item.sop_instance_uids])
    return known.model_copy(update={"sop_instance_uids": list(both)})
