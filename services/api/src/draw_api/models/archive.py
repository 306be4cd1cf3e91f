"""What the index says about patients, studies, series and instances."""

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import Field

from draw_api.models.paging import Answer, Page

Item = TypeVar("Item")
StudySort = Literal["received", "study_date", "patient", "description", "size"]
PatientSort = Literal["received", "patient", "size"]
Direction = Literal["asc", "desc"]
ASCENDING: Final = frozenset({"patient", "description"})
"""What is listed from A on unless somebody asks for the other direction; other values: from the

latest, or the largest.
"""


class NamedPerson(Answer):
    """A person whom objects name as their patient."""

    name: str = Field(examples=["CompressedSamples^MR1"])
    birth_date: date | None
    sex: str


class Patient(NamedPerson):
    """One patient; the counts are those of the current objects."""

    id: int
    patient_id: str = Field(examples=["4MR1"])
    issuer_of_patient_id: str
    ambiguous: bool = Field(
        description="whether its objects name several people: other names with other birth dates"
    )
    persons: list[NamedPerson] = Field(
        description="whom its objects name, when ambiguous; ten at most, who was asked for first"
    )
    study_count: int
    series_count: int
    instance_count: int
    size_bytes: int
    updated_at: datetime


class StudyPatient(NamedPerson):
    """The study's patient; if ambiguous, the person whom the study's own objects name."""

    id: int = Field(description="of the patient, as in the list of patients")
    patient_id: str = Field(examples=["4MR1"])
    issuer_of_patient_id: str
    ambiguous: bool = Field(description="whether objects name several people under this identity")
    persons: list[NamedPerson] = Field(
        description="whom the study's own objects name, when its patient has several names;"
        " ten at most, who was asked for first"
    )


class Study(Answer):
    """One study; the counts are those of the current objects."""

    study_instance_uid: str = Field(examples=["1.3.6.1.4.1.5962.1.2.4.20040826185059.5457"])
    study_date: date | None
    study_time: time | None
    accession_number: str
    study_id: str
    description: str
    referring_physician: str
    modalities: list[str] = Field(examples=[["MR"]])
    series_count: int
    instance_count: int
    size_bytes: int
    held: bool = Field(description="exempt from clean-up")
    last_received_at: datetime
    stable_at: datetime | None = Field(description="when it was found complete; null: it may grow")
    patient: StudyPatient


class Series(Answer):
    """One series."""

    series_instance_uid: str
    study_instance_uid: str
    modality: str
    series_number: int | None
    description: str
    body_part_examined: str
    performed_date: date | None
    performed_time: time | None
    instance_count: int
    size_bytes: int
    last_received_at: datetime
    stable_at: datetime | None


class Instance(Answer):
    """One SOP instance."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    size_bytes: int
    content_sha256: str = Field(description="of the data set as received, hexadecimal")
    event_id: UUID = Field(description="of the announcement, as in messages and logs")
    association_id: str = Field(description="over which it came, as in transactions and logs")
    received_at: datetime
    calling_ae: str
    peer_address: str
    header_damage: str = Field(
        description="in what its header breaks the rules of DICOM; empty when in nothing"
    )


@dataclass(frozen=True, slots=True)
class PatientCriteria:
    """Selects patients; an empty value matches all."""

    patient_id: str = ""
    name: str = ""
    ambiguous: bool | None = None
    search: str = ""
    """Words that all are somewhere in a name or in the Patient ID."""


@dataclass(frozen=True, slots=True)
class StudyCriteria:
    """Selects studies; an empty value matches all. Identifier and name match by their beginning."""

    patient_id: str = ""
    patient_name: str = ""
    study_instance_uid: str = ""
    accession_number: str = ""
    date_from: date | None = None
    date_to: date | None = None
    modality: str = ""
    search: str = ""
    """Words that all are somewhere in name, Patient ID, accession number or description."""
    patient_key: int | None = None
    """The identity of one patient: a Patient ID alone may be several people's."""
    referring_physician: str = ""
    """Words that all are somewhere in the name."""
    held: bool | None = None
    conflicting: bool = False
    """Whether only those are wanted that have conflicts; of many conflicts the newest count."""


@dataclass(frozen=True, slots=True)
class StudyMonth:
    """A month in which a patient was examined."""

    month: date
    """Its first day."""
    studies: int


@dataclass(frozen=True, slots=True)
class ListOrder:
    """The order of a list: by arrival of its first object, or by a value."""

    sort: str = "received"
    descending: bool = True


def order_by(sort: StudySort, direction: Direction | None = None) -> ListOrder:
    """Return an order; without a direction the one that is usual for the value."""
    usual = "asc" if sort in ASCENDING else "desc"
    return ListOrder(sort, (direction or usual) == "desc")


@dataclass(frozen=True, slots=True)
class CountedPage(Generic[Item]):
    """A page of a list, and what is known about all that matches."""

    page: Page[Item]
    number: int
    """How many match, as far as it was counted."""
    size_bytes: int | None
    further: bool = False
    """Whether there may be more that were not counted."""
    after_cursor: bool = False
    """Whether only those after the cursor were counted."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The path of an instance's file, relative to the storage root."""

    sop_instance_uid: str
    study_instance_uid: str
    path: str
    header_damage: str = ""
