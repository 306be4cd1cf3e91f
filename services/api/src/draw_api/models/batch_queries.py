"""Batch queries: a list of questions to remote nodes, and each node's answer to each line."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool, StrictInt

from draw_api.models.jobs import JobState
from draw_api.models.paging import Answer, Request
from draw_api.models.queries import MAX_NODES, KeyValue
from draw_api.models.retrieves import Retrieve, RetrieveOptions
from draw_shared.contracts.identifiers import Uid
from draw_shared.contracts.moments import Moment

MAX_LINES: Final = 5_000
MAX_QUESTIONS: Final = 20_000
"""Lines times nodes."""
MAX_STUDIES_A_LINE: Final = 100
"""Studies kept of one node's matches for one line; with more the line is truncated."""
MAX_SELECTED: Final = 10_000

NODES: Final = Field(min_length=1, max_length=MAX_NODES)
NodeIds = Annotated[list[Annotated[StrictInt, Field(ge=1, le=2**63 - 1)]], NODES]
NodeIdsInAddress = Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], NODES]
"""The same as a query parameter, where numbers are digits."""
Found = Literal["waiting", "not_found", "found", "several", "truncated", "failed", "cancelled"]
Here = Literal["complete", "partial", "no", "unknown"]
Wanted = Literal["missing", "complete"]

EXAMPLE: Final[dict[str, Any]] = {
    "node_ids": [1, 2],
    "lines": [
        {"PatientID": "0042", "StudyDate": "20260101-20260131"},
        {"AccessionNumber": "A26-0815"},
    ],
}


@dataclass(frozen=True, slots=True)
class AskedLine:
    """One question and its line number in the list."""

    number: int
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StudySource:
    """One study that a node has and that is not completely here."""

    node_id: int
    study_instance_uid: str
    instances_there: int | None
    certain: bool
    """Whether the study certainly is the wanted one.

    It is the only study of its line, its patient has exactly the name in the line, and the node
    returned everything.
    """


class NewBatchQuery(Request):
    """The nodes to ask, and for each line the keys of one query for studies."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    node_ids: NodeIds
    lines: list[dict[str, KeyValue]] = Field(
        min_length=1,
        max_length=MAX_LINES,
        description="query keys by DICOM keyword, with wildcards and ranges",
    )


class BatchNode(Answer):
    """One node's progress with a list."""

    node_id: int | None
    node_name: str | None
    state: JobState
    answered: int = Field(description="lines that it has answered or refused")
    found: int = Field(description="lines for which it has at least one study")
    failed: int
    error: str


class BatchQuery(Answer):
    """One list with its progress; lines are read page by page."""

    id: UUID
    state: JobState
    columns: list[str] = Field(description="what was asked for", examples=[["PatientID"]])
    node_ids: list[int]
    lines: int
    answered: int = Field(description="answers so far, of lines times nodes")
    nodes: list[BatchNode]
    expired: bool = Field(description="the studies found are gone; ask again")
    created_at: datetime
    created_by: str
    finished_at: datetime | None


class BatchQueryWithSums(BatchQuery):
    """One list with the number of studies found, and how many of them are here."""

    lines_by_state: dict[str, int] = Field(
        description="waiting, not_found, found, several, truncated, failed, cancelled: lines,"
        " counted for each node",
        examples=[{"found": 90, "not_found": 8, "several": 2}],
    )
    studies: int = Field(description="studies found, counted for each line and node")
    studies_missing: int = Field(description="of these, not known to be completely here")


class FoundStudy(Answer):
    """One study that a node has for a line."""

    study_instance_uid: str
    attributes: dict[str, Any] = Field(examples=[{"PatientID": "0042", "StudyDate": "20260102"}])
    instances_there: int | None = Field(description="as the node says; null: it does not say")
    instances_here: int
    here: Here = Field(description="by number; unknown: some are here, the node names no number")


class BatchLine(Answer):
    """One node's answer to one line."""

    number: int = Field(description="line of the list")
    keys: dict[str, str]
    node_id: int | None
    node_name: str | None
    state: Found = Field(
        description="several: more than one study; truncated: the node has more than it returned"
    )
    error: str
    studies: list[FoundStudy]


class ChosenStudy(Request):
    """One study of one node's answer."""

    node_id: StrictInt = Field(ge=1, le=2**63 - 1)
    study_instance_uid: Uid


class RetrieveFound(Request):
    """Which studies of a batch query to retrieve, when and how."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"several": True, "priority": 5}]})

    studies: list[ChosenStudy] = Field(
        default=[],
        max_length=MAX_SELECTED,
        description="empty: everything found that is not known to be completely here",
    )
    several: StrictBool = Field(
        default=False,
        description="with everything: also of lines that found several studies or a name that"
        " only begins as asked, or were truncated",
    )
    method: Literal["auto", "move", "get"] = "auto"
    priority: StrictInt = Field(default=5, ge=1, le=9, description="1 is the most urgent")
    not_before: Moment | None = Field(default=None, description="begin at the earliest")

    def options(self, node_id: int) -> RetrieveOptions:
        """Return the options for retrieving from one node."""
        given = self.model_dump(include={"method", "priority", "not_before"})
        return RetrieveOptions.model_validate(given | {"node_id": node_id})


class RetrievesBegun(Answer):
    """The retrieves started from a batch query, one or a batch for each node."""

    retrieves: list[Retrieve]
    studies: int = Field(description="studies that are retrieved now")
    on_the_way: int = Field(description="studies that were on the way already")
