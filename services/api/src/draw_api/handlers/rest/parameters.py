"""Parameters of several resources."""

from typing import Annotated

from fastapi import Path, Query

from draw_api.models.paging import DEFAULT_LIMIT, MAX_LIMIT
from draw_shared.contracts.identifiers import Uid
from draw_shared.contracts.texts import LINE

Cursor = Annotated[
    str | None, Query(max_length=400, description="`next_cursor` of the page before")
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="most items on a page")]
RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]
UidInPath = Annotated[Uid, Path(examples=["1.2.840.113619.2.1.1"])]
# PostgreSQL's text cannot hold NUL, and nothing searched for has control characters.
SearchText = Annotated[str, Query(max_length=128), LINE]

__all__ = ["DEFAULT_LIMIT", "Cursor", "Limit", "RowId", "SearchText", "UidInPath"]
