"""Jobs against remote nodes, as operators see them."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from draw_api.models.paging import Answer, Request

JobState = Literal[
    "scheduled",
    "queued",
    "running",
    "waiting",
    "cancelling",
    "complete",
    "partial",
    "failed",
    "cancelled",
]
FINISHED: Final = ("complete", "partial", "failed", "cancelled")


class NewEcho(Request):
    """A C-ECHO to a remote node."""

    kind: Literal["echo"] = Field(examples=["echo"])
    node_id: int = Field(ge=1, le=2**63 - 1, examples=[1])
    priority: int = Field(default=5, ge=1, le=9, description="1 is the most urgent")
    not_before: AwareDatetime | None = Field(
        default=None, description="when to begin at the earliest"
    )


NewJob = Annotated[NewEcho, Field()]


class Job(Answer):
    """One job."""

    id: UUID
    kind: str = Field(examples=["echo"])
    state: JobState
    node_id: int | None
    node_name: str | None
    priority: int
    not_before: datetime | None
    progress: dict[str, Any]
    result: dict[str, Any]
    error: str
    attempts: int
    cancel_requested: bool
    created_at: datetime
    created_by: str
    started_at: datetime | None
    finished_at: datetime | None


class JobAttempt(Answer):
    """One execution of a job."""

    number: int
    worker: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str = Field(description="empty while it runs")
    error: str
    progress: dict[str, Any]


class JobWithAttempts(Job):
    """One job with everything that was tried."""

    parameters: dict[str, Any]
    history: list[JobAttempt]
