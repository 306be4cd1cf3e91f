"""Parses dates and times of keys and values as intervals (PS3.4 C.2.2.2.5, PS3.5 6.2).

A shortened time covers all that it leaves open, and so does the end of a range.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

LEAP_SECOND: Final = 60


class UnreadableInterval(Exception):
    """A text is neither a date nor a time."""


@dataclass(frozen=True, slots=True)
class Dates:
    """The date is between these, both included; None is open."""

    low: date | None
    high: date | None


@dataclass(frozen=True, slots=True)
class Times:
    """The time of day is between these, both included; None is open."""

    low: time | None
    high: time | None


@dataclass(frozen=True, slots=True)
class Moments:
    """A date and a time attribute, combined into one moment, are between these (C.2.2.2.5)."""

    low: datetime | None
    high: datetime | None


_DATE: Final = r"\d{8}|\d{4}\.\d{2}\.\d{2}"
_DATES: Final = re.compile(rf"({_DATE})?\s*(-)?\s*({_DATE})?", re.ASCII)
_TIME: Final = r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?"
_TIMES: Final = re.compile(rf"({_TIME})?\s*(-)?\s*({_TIME})?", re.ASCII)
_TIME_PARTS: Final = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?\.?(\d{1,6})?", re.ASCII)


def _ends(expression: re.Pattern[str], text: str) -> tuple[str | None, str | None]:
    """Return the two ends of a range; a single value is both."""
    found = expression.fullmatch(text)
    if found is None or not (found[1] or found[3]) or (found[1] and found[3] and not found[2]):
        raise UnreadableInterval
    if found[2]:
        return found[1], found[3]
    return found[1], found[1]


def dates(text: str) -> Dates:
    """Return the days that a date or a range of dates covers.

    Raises:
        UnreadableInterval: it is neither.
    """
    low, high = _ends(_DATES, text)
    return Dates(_day(low, last=False) if low else None, _day(high, last=True) if high else None)


def _day(text: str, *, last: bool) -> date:
    """Parse a date; as the end of a range, a day beyond its month becomes the month's end."""
    digits = text.replace(".", "")
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:])
    if not (year >= 1 and 1 <= month <= 12 and 1 <= day <= 31):  # noqa: PLR2004 - a calendar
        raise UnreadableInterval
    longest = calendar.monthrange(year, month)[1]
    if day <= longest:
        return date(year, month, day)
    if last:
        return date(year, month, longest)
    return date(year, month + 1, 1)


def times(text: str) -> Times:
    """Return the times that a time of day or a range of times covers.

    Raises:
        UnreadableInterval: it is neither.
    """
    low, high = _ends(_TIMES, text)
    return Times(
        _moment(low, ("00", "00", "00", "000000")) if low else None,
        _moment(high, ("23", "59", "59", "999999")) if high else None,
    )


def _moment(text: str, absent: tuple[str, str, str, str]) -> time:
    found = _TIME_PARTS.fullmatch(text)
    if found is None:
        raise UnreadableInterval
    hour, minute, second = (int(found[n] or absent[n - 1]) for n in (1, 2, 3))
    fraction = (found[4] or "") + absent[3][len(found[4] or "") :]
    if hour > 23 or minute > 59 or second > LEAP_SECOND:  # noqa: PLR2004 - a clock
        raise UnreadableInterval
    # A time column cannot hold a leap second (PS3.5 6.2): use the second before.
    return time(hour, minute, min(second, 59), int(fraction))


def combine(days: Dates, times: Times) -> Moments:
    """Return the range from the first day's time to the last day's time (C.2.2.2.5)."""
    return Moments(
        datetime.combine(days.low, times.low or time.min) if days.low else None,
        datetime.combine(days.high, times.high or time.max) if days.high else None,
    )
