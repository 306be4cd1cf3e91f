"""Queries that users save under a name, to run them again."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, StrictBool

from draw_api.models.paging import Answer, Request
from draw_api.models.queries import Level, NewQuery, StudyDates
from draw_shared.contracts.texts import LINE

MAX_SAVED: Final = 100
"""Saved queries of one user."""
EXAMPLE: Final[dict[str, Any]] = {
    "name": "CT of today",
    "shared": True,
    "query": {"keys": {"ModalitiesInStudy": "CT"}, "node_ids": [1], "study_dates": "today"},
}


class NewSavedQuery(Request):
    """A query, and the name under which it is saved; an own one of that name is replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: Annotated[str, Field(min_length=1, max_length=64), LINE]
    shared: StrictBool = Field(default=False, description="whether everybody may run it")
    query: NewQuery


class SavedQuery(Answer):
    """A saved query: one's own, or one that its owner shares."""

    id: int
    name: str
    shared: bool
    owner: str = Field(examples=["admin"])
    level: Level
    keys: dict[str, Any]
    node_ids: list[int]
    limit: int = Field(description="most results of each node; 0: all")
    study_dates: StudyDates = Field(
        description="counted back from the day on which it is run; empty: the key StudyDate"
    )
    zone: str = Field(description="time zone in which it is today; empty: UTC")
    created_at: datetime
