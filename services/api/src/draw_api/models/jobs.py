"""Jobs against remote nodes, as operators see them."""

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StrictInt, model_validator

from draw_api.models.paging import Answer, Request
from draw_shared.contracts.identifiers import OptionalUid, Uid
from draw_shared.contracts.moments import Moment
from draw_shared.wording import message

JobState = Literal[
    "scheduled",
    "queued",
    "running",
    "waiting",
    "cancelling",
    "complete",
    "unproved",
    "partial",
    "failed",
    "cancelled",
]
MAX_INSTANCES: Final = 5_000
SopInstanceUids = Annotated[
    list[Uid],
    Field(max_length=MAX_INSTANCES),
    AfterValidator(lambda uids: list(dict.fromkeys(uids))),
]
"""Repeated UIDs count once."""
FINISHED: Final = ("complete", "unproved", "partial", "failed", "cancelled")

UNDER_WAY: Final = ("queued", "running")
"""States of a job that begins at once or has begun; others wait for something, or are over."""


class _NewJob(Request):
    """The parameters of every job against a remote node."""

    node_id: StrictInt = Field(ge=1, le=2**63 - 1, examples=[1])
    priority: StrictInt = Field(default=5, ge=1, le=9, description="1 is the most urgent")
    not_before: Moment | None = Field(default=None, description="when to begin at the earliest")


class NewEcho(_NewJob):
    """A C-ECHO to a remote node."""

    kind: Literal["echo"] = Field(examples=["echo"])


class NewProbe(_NewJob):
    """A test of which services a remote node accepts."""

    kind: Literal["probe"] = Field(examples=["probe"])


class NewSend(_NewJob):
    """Sends stored objects to a remote node by C-STORE."""

    kind: Literal["send"] = Field(examples=["send"])
    study_instance_uid: Uid
    series_instance_uid: OptionalUid = ""
    sop_instance_uids: SopInstanceUids = Field(default=[], description="of that series; empty: all")

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        if self.sop_instance_uids and not self.series_instance_uid:
            raise ValueError(message("SOP instances need the Series Instance UID"))
        return self


NewJob = Annotated[NewEcho | NewProbe | NewSend, Field(discriminator="kind")]


class JobWait(Answer):
    """Why a job has not begun, and when it will."""

    reason: Literal[
        "start_time",
        "retry",
        "node_failing",
        "node_window",
        "job_window",
        "node_paused",
        "node_switched_off",
        "no_worker",
        "others",
        "soon",
    ] = Field(
        description="start_time: it was asked to begin later; retry: a try has failed;"
        " node_failing: the node failed repeatedly; node_window, job_window: outside the weekly"
        " windows; no_worker: no qr-worker is running; others: the node serves other jobs first;"
        " soon: a worker is about to take it"
    )
    until: datetime | None = Field(
        default=None, description="when it is tried next; null: that depends on the reason"
    )
    failures: int = Field(default=0, description="failed tries of the job, or of the node in a row")
    ahead: int = Field(default=0, description="jobs of the node that come first, at most 100")


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
    patient_name: str = Field(
        default="", description="of the study, as the index or the query that found it has it"
    )
    study_description: str = ""
    study_date: date | None = None
    batch_of: str = Field(default="", description="kind of the jobs in a batch")
    wait: JobWait | None = Field(default=None, description="null: it has begun")


class NodeTests(Answer):
    """The C-ECHOs that were queued."""

    queued: int = Field(
        description="remote nodes in use that were not being tested already", examples=[12]
    )


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
    """One job with all its attempts."""

    parameters: dict[str, Any]
    history: list[JobAttempt]
