"""What the pages' addresses may carry; nonsense is ignored rather than refused, where it can be."""

from datetime import date
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
    """Return a date as a date picker sends it; None for nothing or nonsense."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
