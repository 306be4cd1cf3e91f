"""Parameters of the pages' addresses; invalid ones are ignored rather than refused if possible."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import Path, Query

from draw_shared.contracts.identifiers import Uid
from draw_shared.contracts.texts import LINE

ON_A_PAGE: Final = 50

Cursor = Annotated[str | None, Query(max_length=400)]
SearchText = Annotated[str, Query(max_length=128), LINE]
UidInPath = Annotated[Uid, Path()]
RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]


def day_of(text: str) -> date | None:
    """Return the date from a date picker; None if it is empty or invalid."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


def long_before(moment: datetime, span: timedelta) -> datetime:
    """Return the moment so long before another; the calendar's first if there is none."""
    try:
        return moment - span
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def picked(moment: datetime | None) -> str:
    """Return a moment as a picker has it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if moment else ""


def moment_of(text: str) -> datetime | None:
    """Return the moment from a picker, in UTC; None if it is empty or invalid."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
