"""Retrieve jobs, as operators request and watch them."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)

from draw_api.models.jobs import JobAttempt, JobState, JobWait, SopInstanceUids
from draw_api.models.nodes import Window
from draw_api.models.paging import Answer, Parameters, Request
from draw_shared.contracts.identifiers import FIRST_PRINTABLE, OptionalAeTitle, OptionalUid
from draw_shared.contracts.moments import Moment
from draw_shared.contracts.retrieves import KnownSubject
from draw_shared.wording import message

MAX_ITEMS: Final = 10_000
DELETE: Final = "\x7f"
NOT_IN_AN_IDENTIFIER: Final = frozenset("\\*?")


def _one_value(typed: str) -> str:
    value = typed.strip()
    if any(
        ord(c) < FIRST_PRINTABLE or c == DELETE for c in value
    ) or NOT_IN_AN_IDENTIFIER.intersection(value):
        raise ValueError(
            message("one value is looked up: no wildcard, no backslash, no control character")
        )
    return value


Identifier = Annotated[str, Field(max_length=64), AfterValidator(_one_value)]
"""Patient ID or Accession Number as a single value; surrounding blanks are ignored."""

EXAMPLE: Final[dict[str, Any]] = {
    "node_id": 1,
    "items": [{"study_instance_uid": "1.2.840.113619.2.55.3"}],
    "method": "auto",
    "priority": 5,
}


class WantedItem(Request):
    """A study, a series, SOP instances, or the studies of a patient or accession number."""

    study_instance_uid: OptionalUid = ""
    series_instance_uid: OptionalUid = ""
    sop_instance_uids: SopInstanceUids = Field(default=[])
    patient_id: Identifier = Field(default="", description="looked up, unless a study is named")
    accession_number: Identifier = Field(default="", description="looked up, as the patient")

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        if self.sop_instance_uids and not self.series_instance_uid:
            raise ValueError(message("SOP instances need the Series Instance UID"))
        if self.series_instance_uid and not self.study_instance_uid:
            raise ValueError(message("a series needs the Study Instance UID"))
        if not (self.study_instance_uid or self.patient_id or self.accession_number):
            raise ValueError(message("name a study, a patient or an accession number"))
        return self


class RetrieveOptions(Request):
    """From where, to where, when and how to retrieve."""

    node_id: StrictInt = Field(ge=1, le=2**63 - 1, description="remote node to retrieve from")
    method: Literal["auto", "move", "get"] = Field(
        default="auto", description="auto: C-MOVE, or C-GET for a node that offers only that"
    )
    destination: OptionalAeTitle = Field(
        default="", description="AE title that C-MOVE sends to; empty: this suite"
    )
    priority: StrictInt = Field(default=5, ge=1, le=9, description="1 is the most urgent")
    not_before: Moment | None = Field(default=None, description="begin at the earliest")
    force: StrictBool = Field(
        default=False, description="also what is already here or already on the way"
    )

    @model_validator(mode="after")
    def _check_possible(self) -> Self:
        if self.method == "get" and self.destination:
            raise ValueError(message("C-GET brings objects here and to no other destination"))
        return self


class RetrieveParameters(Parameters, RetrieveOptions):
    """The options of a retrieve, sent beside a list."""


class NewRetrieve(RetrieveOptions):
    """Studies, series or SOP instances to retrieve; several items make a batch."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    windows: list[Window] = Field(
        default=[], max_length=28, description="weekly spans in which it may begin; empty: always"
    )
    items: list[WantedItem] = Field(min_length=1, max_length=MAX_ITEMS)


class Retrieve(Answer):
    """One retrieve job, or a batch of them with the sums of its children."""

    id: UUID
    kind: Literal["retrieve", "batch"]
    state: JobState = Field(
        description="complete: proved; unproved: nothing is known to be missing, and nothing proves"
        " that it is everything; partial: something is known to be missing",
        examples=["complete"],
    )
    parent_id: UUID | None
    node_id: int | None
    node_name: str | None
    item: dict[str, Any] = Field(
        description="what is retrieved; empty for a batch",
        examples=[{"study_instance_uid": "1.2.840.113619.2.55.3"}],
    )
    patient_name: str = Field(
        default="",
        description="of the study, once anything of it is here and names one person only, else as"
        " the query that found it has it",
    )
    patient_id: str = ""
    study_description: str = ""
    study_date: date | None = None
    series_description: str = ""
    method: str
    destination: str
    priority: int
    not_before: datetime | None
    progress: dict[str, Any] = Field(
        description="expected, arrived, already_here, remaining, completed, failed, warning, "
        "bytes, bytes_per_second, objects_per_second, eta_seconds, phase",
        examples=[
            {
                "phase": "retrieving",
                "expected": 200,
                "arrived": 50,
                "remaining": 150,
                "completed": 50,
                "failed": 0,
                "warning": 0,
                "bytes": 26214400,
                "bytes_per_second": 5242880,
                "eta_seconds": 15.0,
            }
        ],
    )
    result: dict[str, Any]
    error: str = Field(description="what went wrong, in words", examples=[""])
    attempts: int
    cancel_requested: bool
    wait: JobWait | None = Field(default=None, description="null: it has begun")
    children: dict[str, int] = Field(
        description="jobs of a batch by state", examples=[{"complete": 99, "running": 1}]
    )
    retry_of: UUID | None = Field(description="the job whose missing objects this one retrieves")
    created_at: datetime
    created_by: str
    started_at: datetime | None
    finished_at: datetime | None


class RetrieveWithAttempts(Retrieve):
    """One retrieve job with all its attempts."""

    history: list[JobAttempt]


class RetrievedInstance(Answer):
    """One SOP instance that a retrieve expects."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    arrived_at: datetime | None = Field(description="null: not yet, or never")


class Urgency(Request):
    """How urgent a job is."""

    priority: StrictInt = Field(ge=1, le=9, description="1 is the most urgent", examples=[1])


def parameters_of(
    options: RetrieveOptions, item: WantedItem, known: KnownSubject | None = None
) -> dict[str, Any]:
    """Return the parameters of a job for one item, without empty ones."""
    named = item.model_dump(mode="json", exclude_defaults=True)
    told = options.model_dump(
        mode="json", include={"method", "destination", "windows", "force"}, exclude_defaults=True
    )
    about = known.values() if known else {}
    return named | told | ({"about": about} if about else {})


def item_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item in a job's parameters."""
    return {name: parameters[name] for name in WantedItem.model_fields if name in parameters}
