"""Standing queries: queries that are asked by a schedule, and what came of each run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StrictInt

from draw_api.models.paging import Answer, Request
from draw_api.models.queries import NewQuery, StudyDates
from draw_api.models.schedules import Schedule, Zone
from draw_shared.contracts.texts import LINE
from draw_shared.wording import message

MAX_STANDING: Final = 200
"""Standing queries of the suite: each pass of the scheduler reads all of them."""
MAX_RETRIEVED: Final = 5_000
KEPT_RUNS: Final = 1_000
"""Runs of a standing query that are kept."""
RunState = Literal["asking", "retrieving", "complete", "partial", "failed", "skipped"]
EXAMPLE: Final[dict[str, Any]] = {
    "name": "yesterday's CTs",
    "query": {
        "keys": {"ModalitiesInStudy": "CT"},
        "node_ids": [1],
        "study_dates": "yesterday",
    },
    "schedule": "0 2 * * *",
    "zone": "Europe/Berlin",
    "retrieve": True,
    "most": 100,
}


def _of_studies(query: NewQuery) -> NewQuery:
    if query.level != "STUDY":
        raise ValueError(message("a standing query asks for studies"))
    return query


StudyQuery = Annotated[NewQuery, AfterValidator(_of_studies)]
Name = Annotated[str, Field(min_length=1, max_length=64), LINE]
Most = Annotated[
    StrictInt,
    Field(
        ge=1,
        le=MAX_RETRIEVED,
        description="studies that one run retrieves; the newest come first",
    ),
]


class NewStandingQuery(Request):
    """A query, when it is asked, and what is done with what it finds."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    name: Name
    query: StudyQuery = Field(
        description="at the level STUDY; its days are those of the schedule's time zone"
    )
    schedule: Schedule
    zone: Zone = "UTC"
    retrieve: StrictBool = Field(
        default=True, description="retrieve the studies that are not completely here"
    )
    most: Most = 100
    active: StrictBool = Field(default=True, description="false: it is not asked for now")


class StandingQueryChange(Request):
    """The fields to change; omitted ones stay as they are."""

    name: Name | None = None
    query: StudyQuery | None = None
    schedule: Schedule | None = None
    zone: Zone | None = None
    retrieve: StrictBool | None = None
    most: Most | None = None
    active: StrictBool | None = None

    def values(self) -> dict[str, Any]:
        """Return the columns to write."""
        return self.model_dump(mode="json", exclude_none=True)


class StandingQueryRun(Answer):
    """One run of a standing query."""

    id: int
    scheduled_for: datetime
    run_by: str = Field(description="who ran it; empty: the schedule")
    state: RunState = Field(
        description="skipped: the run before was still going; partial: `error` says what is missing"
    )
    query_id: UUID | None
    retrieve_ids: list[UUID] = Field(description="one for each node")
    found: int = Field(description="studies")
    already_here: int = Field(description="of these, completely here by number")
    requested: int = Field(description="studies that this run retrieves")
    on_the_way: int = Field(description="studies that others had requested before")
    left_out: int = Field(description="studies beyond the number that one run retrieves")
    error: str = Field(description="what went wrong, in words", examples=[""])
    started_at: datetime
    finished_at: datetime | None


class StandingQuery(Answer):
    """A query that is asked by a schedule, with its last run."""

    id: int
    name: str
    active: bool
    keys: dict[str, Any]
    node_ids: list[int]
    limit: int = Field(description="most results of each node; 0: all")
    study_dates: StudyDates = Field(
        description="counted back from the day for which a run was scheduled, in `zone`;"
        " empty: the key StudyDate"
    )
    schedule: str
    zone: str
    retrieve: bool
    most: int
    next_runs: list[datetime] = Field(description="the next three; empty: it is not active")
    last_run: StandingQueryRun | None = Field(description="the last that has begun")
    created_at: datetime
    created_by: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduledQuery:
    """What the scheduler needs of a standing query."""

    id: int
    active: bool
    query: Mapping[str, Any]
    schedule: str
    zone: str
    retrieve: bool
    most: int
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run that has not ended."""

    id: int
    standing_query_id: int
    scheduled_for: datetime
    state: str
    query_id: UUID | None
    """None: it has not been asked yet."""
    retrieve_ids: tuple[UUID, ...]
    error: str
    query: Mapping[str, Any]
    zone: str
    retrieve: bool
    most: int


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What became of a run; a state that ends it sets its end."""

    state: RunState
    problems: tuple[str, ...] = ()
    query_id: UUID | None = None
    """None: as it was."""
    retrieve_ids: tuple[UUID, ...] = ()
    """Empty: as they were."""
    found: int = 0
    already_here: int = 0
    requested: int = 0
    on_the_way: int = 0
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class AskedNode:
    """A remote node of a standing query, and what prevents a query to it."""

    name: str
    hindrance: str


@dataclass(frozen=True, slots=True)
class StudiesFound:
    """How many studies a query found; each of them is in one of the other numbers."""

    found: int
    here: int
    """Completely, by number."""
    missing: int
    """To be retrieved."""
    silent: int
    """Not here, and only on nodes that send nothing."""
    unnamed: int
    """Without a valid Study Instance UID."""


@dataclass(frozen=True, slots=True)
class MissingStudy:
    """A study that a node has and that is not completely here."""

    node_id: int
    node_name: str
    study_instance_uid: str
    attributes: Mapping[str, Any]
