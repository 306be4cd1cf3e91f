"""Parses the values that conditions compare: numbers, dates, times and ages."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from draw_shared.dicom.encoding.dates import parse_date, parse_time
from draw_shared.routing.subjects import ValueKind

Comparable = int | float
"""What the comparisons of order work on; a date, time or age is such a number too."""

MAX_LENGTH: Final = 64
"""Characters; what is longer is none of these, so that a huge text costs nothing."""
MAX_REMEMBERED: Final = 1024
WHOLE: Final = re.compile(r"[+-]?[0-9]+")
DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
AGE: Final = re.compile(r"([0-9]{1,3})([DWMY])")
MOMENT: Final = re.compile(
    r"([0-9]{4})([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?"
    r"(?:\.([0-9]{1,6}))?(?:[+-][0-9]{4})?"
)
DAYS: Final = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
SECONDS: Final = 60
MICROSECONDS: Final = 1_000_000


def number(text: str) -> Comparable | None:
    """Return the number that a text is; None if it is none (PS3.5 6.2, DS and IS)."""
    if WHOLE.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text):
        found = float(text)
        return found if math.isfinite(found) else None
    return None


def day(text: str) -> Comparable | None:
    """Return a date as a number of days; None if it is none."""
    found = parse_date(text)
    return None if found is None else found.toordinal()


def time_of_day(text: str) -> Comparable | None:
    """Return a time as microseconds since midnight; None if it is none."""
    found = parse_time(text)
    if found is None:
        return None
    minutes = found.hour * SECONDS + found.minute
    return (minutes * SECONDS + found.second) * MICROSECONDS + found.microsecond


def moment(text: str) -> Comparable | None:
    """Return a date and time as written, without regard to its offset; None if it is none."""
    found = MOMENT.fullmatch(text)
    if found is None:
        return None
    year, month, dom, hour, minute, second, fraction = found.groups()
    try:
        parsed = datetime(
            int(year),
            int(month or 1),
            int(dom or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "").ljust(6, "0")),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    since = parsed - datetime(1, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * MICROSECONDS + since.microseconds


def age(text: str) -> Comparable | None:
    """Return an age such as 064Y as days; None if it is none."""
    found = AGE.fullmatch(text)
    return None if found is None else int(found[1]) * DAYS[found[2]]


Parser = Callable[[str], Comparable | None]


def _remembering(parse: Parser) -> Parser:
    """Return a parser that parses a value once, however many conditions look at it."""
    remembered = lru_cache(maxsize=MAX_REMEMBERED)(parse)
    return lambda text: remembered(text) if len(text) <= MAX_LENGTH else None


PARSERS: Final[Mapping[ValueKind, Parser]] = {
    ValueKind.NUMBER: _remembering(number),
    ValueKind.DATE: _remembering(day),
    ValueKind.TIME: _remembering(time_of_day),
    ValueKind.MOMENT: _remembering(moment),
    ValueKind.AGE: _remembering(age),
}
"""The parser of each kind that has an order."""
