"""Objects that contradict the index."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from draw_api.models.paging import Answer


class ConflictKind(StrEnum):
    """How an object contradicts the index; if in several ways, the last one here counts."""

    ANOTHER_OBJECT = "another_object"
    """Another object of its study has the same SOP Instance UID."""
    ANOTHER_PATIENT = "another_patient"
    """It names another patient than its study has."""
    ANOTHER_STUDY = "another_study"
    """The current object with its SOP Instance UID is in another study than it names."""


class ObjectConflict(Answer):
    """One object that contradicts the index; it concerns the study it names and the current one."""

    kind: ConflictKind = Field(
        description="`another_object`: its SOP Instance UID is that of another object of its study;"
        " `another_patient`: it names another patient than its study has; `another_study`: what is"
        " current under its SOP Instance UID lies in another study than it names"
    )
    sop_instance_uid: str
    study_instance_uid: str = Field(description="of the study that the object names")
    study_indexed: bool = Field(description="whether anything is in that study")
    current_study_instance_uid: str = Field(
        description="of the study in which the current object with its SOP Instance UID is;"
        " empty when there is none at the moment"
    )
    current: bool = Field(description="whether it is that object itself; if not, it is set aside")
    stated_patient: str = Field(
        description="identifier that it gives its patient, with `^^^` and the issuer if any;"
        " empty when it gives none or is set aside"
    )
    patient_id: str = Field(description="of the patient to whom the current study belongs")
    reason: str
    calling_ae: str
    received_at: datetime
    size_bytes: int
    content_sha256: str = Field(description="of the data set as received, hexadecimal")


@dataclass(frozen=True, slots=True)
class ConflictCriteria:
    """Selects conflicts; an empty value matches all."""

    study_instance_uid: str = ""
    """The study that the object names, or that contains the current one with its UID."""
    kind: ConflictKind | None = None
