"""Decides which object gives each attribute of a series, study or patient row.

The objects of a series, study or patient need not agree. Each attribute has the value of the object
that takes precedence among those that have one: the first received under `keep_existing`, the last
received under `replace`. The row stores the source of each value, so the result does not depend on
the order of indexing. If an object is read again, its new values replace its old ones.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from draw_indexer.models import Row
from draw_shared.dicom.encoding.dates import beyond_microseconds, parse_date, parse_time
from draw_shared.dicom.encoding.search_text import (
    bounded_search_text,
    person_name_search_text,
    search_text,
)
from draw_shared.dicom.query import keys
from draw_shared.dicom.query.keys import IndexedAttribute, Level

Before = Callable[[str, str], bool]

MAX_COLUMN_LENGTH: Final = 512
MAX_INTEGER: Final = 2**31 - 1
INTEGER: Final = re.compile(r"[+-]?[0-9]{1,12}")
REQUESTS: Final = keys.REQUEST_ATTRIBUTES
REQUESTS_COLUMN: Final = "request_attributes"

IDENTIFYING: Final = frozenset(
    (*keys.UNIQUE_KEYS.values(), "IssuerOfPatientID", "SOPClassUID", "InstanceNumber")
)
DESCRIBING: Final = {
    level: tuple(a for a in keys.of_level(level) if a.keyword not in IDENTIFYING)
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES)
}


class Value(NamedTuple):
    """One attribute's value as a row holds it."""

    column: Any = None
    search: str = ""
    document: Any = None
    """The value in `attributes` under the keyword."""


class Description:
    """One row's attributes; objects add their values to them."""

    def __init__(self, level: Level, before: Before, row: Mapping[str, Any] | None = None) -> None:
        self._level = level
        self._before = before
        self._values: dict[str, tuple[str, Value]] = {}
        self.changed = row is None
        if row is not None:
            self._values.update(_read_row(level, row))

    def add(self, source: str, texts: Mapping[str, Any]) -> None:
        """Adopt an object's values where it takes precedence."""
        for attribute in DESCRIBING[self._level]:
            text = texts.get(attribute.keyword)
            if text and self._goes_first(attribute.keyword, source):
                self._put(attribute.keyword, source, value_of(attribute, text))
        if (
            self._level is Level.SERIES
            and texts.get(REQUESTS)
            and self._goes_first(REQUESTS, source)
        ):
            self._put(REQUESTS, source, Value(column=texts[REQUESTS]))

    def add_parent(self, keyword: str, source: str, key: object) -> None:
        """Adopt the parent that an object names, if it takes precedence."""
        if self._goes_first(keyword, source):
            self._put(keyword, source, Value(column=key))

    def set_parent(self, keyword: str, sources: Mapping[str, str], key: object) -> None:
        """Record the row's parent, according to its `sources`."""
        if sources:
            self._values[keyword] = (_source(sources, keyword), Value(column=key))

    def parent(self, keyword: str) -> Any:  # noqa: ANN401 - what was put in
        """Return the row's parent, or None if no object has named one."""
        held = self._values.get(keyword)
        return held[1].column if held else None

    def absorb(self, other: "Description") -> None:
        """Adopt another row's values, at the same level, where it takes precedence."""
        for keyword, (source, value) in other._values.items():  # noqa: SLF001 - of the same class
            if self._goes_first(keyword, source):
                self._put(keyword, source, value)

    def row(self) -> Row:
        """Return the columns that the row must have."""
        row: Row = {"attributes": {}, "sources": _to_sources(self._values)}
        for attribute in DESCRIBING[self._level]:
            value = self._values.get(attribute.keyword, ("", _empty_value(attribute)))[1]
            if attribute.column:
                row[attribute.column] = value.column
            if attribute.search:
                row[attribute.search] = value.search
            if value.document is not None:
                row["attributes"][attribute.keyword] = value.document
        if self._level is Level.SERIES:
            row[REQUESTS_COLUMN] = self._values.get(REQUESTS, ("", Value(column=[])))[1].column
        return row

    def _goes_first(self, keyword: str, source: str) -> bool:
        held = self._values.get(keyword)
        return held is None or source == held[0] or self._before(source, held[0])

    def _put(self, keyword: str, source: str, value: Value) -> None:
        said = (source, value)
        if self._values.get(keyword) != said:
            self._values[keyword] = said
            self.changed = True


def value_of(attribute: IndexedAttribute, text: str) -> Value:
    """Return how a row holds `text`; what its column cannot express is in `attributes`."""
    if not attribute.column:
        return Value(document=text)
    match attribute.vr:
        case "DA":
            day = parse_date(text)
            return Value(day and day.isoformat(), document=None if day else text)
        case "TM":
            moment = parse_time(text)
            spare = moment is None or beyond_microseconds(text)
            return Value(moment and moment.isoformat(), document=text if spare else None)
        case "IS":
            number = whole_number(text)
            return Value(number, document=text if number is None else None)
        case _:
            return Value(text[:MAX_COLUMN_LENGTH], _search(attribute, text[:MAX_COLUMN_LENGTH]))


def whole_number(text: str) -> int | None:
    """Return the number in `text` if an integer column can hold it."""
    number = int(text) if INTEGER.fullmatch(text) else None
    return number if number is not None and abs(number) <= MAX_INTEGER else None


def _search(attribute: IndexedAttribute, text: str) -> str:
    if not attribute.search:
        return ""
    made = person_name_search_text(text) if attribute.vr == "PN" else search_text(text)
    return bounded_search_text(made)


def _empty_value(attribute: IndexedAttribute) -> Value:
    return Value(column=None if attribute.vr in {"DA", "TM", "IS"} else "")


def _read_row(level: Level, row: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, Value]]]:
    attributes, sources = row["attributes"], row["sources"]
    for attribute in DESCRIBING[level]:
        column = row[attribute.column] if attribute.column else None
        document = attributes.get(attribute.keyword)
        if column in {None, ""} and document is None:
            continue
        search = row[attribute.search] if attribute.search else ""
        yield (
            attribute.keyword,
            (
                _source(sources, attribute.keyword),
                Value(column, search, document),
            ),
        )
    if level is Level.SERIES and row[REQUESTS_COLUMN]:
        yield REQUESTS, (_source(sources, REQUESTS), Value(column=row[REQUESTS_COLUMN]))


def _source(sources: Mapping[str, str], keyword: str) -> str:
    return sources.get(keyword) or sources.get("", "")


def _to_sources(values: Mapping[str, tuple[str, Value]]) -> dict[str, str]:
    """Return `sources`: the commonest once under the empty key, the others by keyword."""
    if not values:
        return {}
    counted = Counter(source for source, _ in values.values())
    commonest = min(counted, key=lambda source: (-counted[source], source))
    named = {k: source for k, (source, _) in sorted(values.items()) if source != commonest}
    return {"": commonest, **named}
