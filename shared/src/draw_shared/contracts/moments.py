"""Dates and moments in requests: as text, never as a number.

A number would be read as seconds since 1970, even a DICOM date: 20261128 would be a day in August
1970.
"""

import re
from datetime import date, datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BeforeValidator

from draw_shared.wording import message

DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T t]\d{2}:\d{2}.*", re.ASCII)
DATE_WORDS: Final = message("must be a date such as 2026-11-28")
MOMENT_WORDS: Final = message("must be a date and time with zone such as 2026-11-28T22:00:00Z")


def _require_date_text(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and DATE.fullmatch(value)):
        return value
    raise ValueError(DATE_WORDS)


def _require_moment_text(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and MOMENT.fullmatch(value)):
        return value
    raise ValueError(MOMENT_WORDS)


CalendarDate = Annotated[date, BeforeValidator(_require_date_text)]
"""A day in the form of ISO 8601."""

Moment = Annotated[AwareDatetime, BeforeValidator(_require_moment_text)]
"""A moment with its time zone, in the form of RFC 3339."""
