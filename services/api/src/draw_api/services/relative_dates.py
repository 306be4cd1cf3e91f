"""Days that are counted back from today, as the key Study Date names them to a node."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

SPANS: Final[Mapping[str, tuple[int, int]]] = {
    "today": (0, 0),
    "yesterday": (1, 1),
    "last_7_days": (6, 0),
    "last_30_days": (29, 0),
}
"""How many days before today a span begins and ends."""


def study_date_of(span: str, today: date) -> str:
    """Return the span as a date or a range of dates in DICOM's form."""
    first, last = (today - timedelta(days=days) for days in SPANS[span])
    return f"{first:%Y%m%d}" if first == last else f"{first:%Y%m%d}-{last:%Y%m%d}"
