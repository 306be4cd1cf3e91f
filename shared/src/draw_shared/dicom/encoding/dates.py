"""Parses dates and times of data sets, in the forms of old senders too (PS3.5 6.2)."""

import re
from datetime import date, time
from typing import Final

DATE: Final = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})")
TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,9}))?)?)?")
MICROSECOND_DIGITS: Final = 6


def parse_date(text: str) -> date | None:
    """Parse a date, `20040119` or in ACR-NEMA's form `2004.01.19`; None if it is none."""
    found = DATE.fullmatch(text)
    if found is None or not text.isascii():
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def parse_time(text: str) -> time | None:
    """Parse a time, `102030.5` or in ACR-NEMA's form `10:20:30`; None if it is none.

    A leap second exists in neither Python's nor PostgreSQL's time, and is None here.
    """
    found = TIME.fullmatch(text)
    if found is None or not text.isascii():
        return None
    fraction = (found[4] or "").ljust(MICROSECOND_DIGITS, "0")[:MICROSECOND_DIGITS]
    try:
        return time(int(found[1]), int(found[2] or 0), int(found[3] or 0), int(fraction))
    except ValueError:
        return None


def beyond_microseconds(text: str) -> bool:
    """Return whether a time is more precise than `parse_time` can return."""
    found = TIME.fullmatch(text)
    return found is not None and bool((found[4] or "")[MICROSECOND_DIGITS:].strip("0"))
