"""Lists of studies as people have them: CSV with whatever columns and separator."""

import csv
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Final

from pydantic import ValidationError

from draw_api.models.failures import FieldProblem, Invalid
from draw_api.models.retrieves import MOST_ITEMS, WantedItem

LONGEST_LIST: Final = 4 * 1024 * 1024
MOST_PROBLEMS: Final = 20
COLUMNS: Final = {
    "studyinstanceuid": "study_instance_uid",
    "studyuid": "study_instance_uid",
    "seriesinstanceuid": "series_instance_uid",
    "seriesuid": "series_instance_uid",
    "sopinstanceuid": "sop_instance_uids",
    "sopuid": "sop_instance_uids",
    "patientid": "patient_id",
    "accessionnumber": "accession_number",
}
LOOKS_LIKE_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")


def items_of_csv(raw: bytes) -> list[WantedItem]:
    """Return the items of a list; lines that name instances of one series become one item.

    The first line names the columns; without such a line there is one column of Study
    Instance UIDs. Columns that mean nothing here are ignored.

    Raises:
        Invalid: lines cannot be understood, each with its number.
    """
    if len(raw) > LONGEST_LIST:
        raise _wrong("body", "the list is too long")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = list(_lines(text))
    if not lines:
        raise _wrong("body", "the list is empty")
    columns = _columns(lines[0][1])
    rows = lines if columns is None else lines[1:]
    return _items(rows, columns or ["study_instance_uid"])


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(StringIO(text), delimiter=separator)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise _wrong(f"line {reader.line_num}", "this is not CSV") from error


def _columns(cells: Sequence[str]) -> list[str] | None:
    """Return the fields that the first line names, empty where none; None when it is no heading."""
    if LOOKS_LIKE_UID.fullmatch(cells[0]):
        return None
    names = [COLUMNS.get(re.sub(r"[^a-z]", "", cell.lower()), "") for cell in cells]
    if not any(names):
        raise _wrong("line 1", "no column names a study, a patient or an accession number")
    return names


def _items(rows: Sequence[tuple[int, list[str]]], columns: Sequence[str]) -> list[WantedItem]:
    items: dict[tuple[str, ...], WantedItem] = {}
    problems: list[FieldProblem] = []
    for number, cells in rows:
        fields = {
            name: value for name, value in zip(columns, cells, strict=False) if name and value
        }
        try:
            item = _item(fields)
        except ValidationError as error:
            message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            problems.append(FieldProblem(f"line {number}", message))
            continue
        key = (*fields.values(),) if "sop_instance_uids" not in fields else _series(item)
        known = items.get(key)
        items[key] = item if known is None else _joined(known, item)
    if problems:
        raise Invalid(problems[:MOST_PROBLEMS])
    if len(items) > MOST_ITEMS:
        raise _wrong("body", f"the list has more than {MOST_ITEMS} items")
    return list(items.values())


def _item(fields: dict[str, str]) -> WantedItem:
    given: dict[str, str | list[str]] = dict(fields)
    if "sop_instance_uids" in fields:
        given["sop_instance_uids"] = [fields["sop_instance_uids"]]
    return WantedItem.model_validate(given)


def _series(item: WantedItem) -> tuple[str, ...]:
    return item.study_instance_uid, item.series_instance_uid, "instances"


def _joined(known: WantedItem, item: WantedItem) -> WantedItem:
    both = dict.fromkeys([*known.sop_instance_uids, *item.sop_instance_uids])
    return known.model_copy(update={"sop_instance_uids": list(both)})


def _wrong(field: str, message: str) -> Invalid:
    return Invalid([FieldProblem(field, message)])
