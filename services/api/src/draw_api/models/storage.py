"""What fills the storage, how fast it fills, and what may be deleted."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

from pydantic import Field, StrictInt

from draw_api.models.paging import Answer, Request
from draw_shared.contracts.texts import LINE
from draw_shared.storage.space import SpaceLimits, SpaceShortage

Reason = Annotated[
    str,
    Field(
        min_length=3,
        max_length=500,
        description="why; kept on record, so it must not name a patient",
        examples=["sent by mistake"],
    ),
    LINE,
]


@dataclass(frozen=True, slots=True)
class StorageRules:
    """The storage limits in the configuration in force."""

    max_storage_gb: int = 100
    min_free_percent: int = 2
    clean_up: bool = False
    retention_days: int = 30

    @property
    def limits(self) -> SpaceLimits:
        """The limits that the receivers apply."""
        return SpaceLimits.configured(self.max_storage_gb, self.min_free_percent)


@dataclass(frozen=True, slots=True)
class StorageSums:
    """Sums over the index."""

    studies: int
    instances: int
    current_bytes: int
    conflicts: int
    conflict_bytes: int
    held_studies: int
    held_bytes: int
    files_to_remove: int
    bytes_to_remove: int


class GrowthDay(Answer):
    """New objects received on one day (UTC)."""

    day: date
    objects: int
    size_bytes: int


class Forecast(Answer):
    """When the storage will be full at the rate of the last days."""

    days_observed: int
    bytes_per_day: int = Field(description="mean of the days observed, today not counted")
    full_in_days: float | None = Field(
        description="0 while objects are refused; null: it is not expected to fill up, as nothing"
        " comes or clean-up keeps pace"
    )
    limited_by: SpaceShortage | None = Field(description="the limit that is reached first")


class StorageUsage(Answer):
    """The storage at one moment."""

    used_bytes: int = Field(
        description="current objects, conflicts, files waiting for removal, and objects not"
        " indexed yet: as the receivers count them, or without a receiver as indexed"
    )
    limit_bytes: int | None = Field(description="the quota; null: there is none")
    disk_total_bytes: int | None
    disk_free_bytes: int | None
    min_free_bytes: int | None = Field(description="what must stay free on the disk")
    disk_total_inodes: int | None = Field(description="null: the file system has no fixed number")
    disk_free_inodes: int | None
    room_bytes: int | None = Field(
        description="size of the largest object that is accepted now; null: there is no quota, and"
        " the disk cannot be seen"
    )
    refusing: SpaceShortage | None = Field(description="why C-STORE is answered 0xA700 now")
    studies: int
    instances: int
    conflicts: int
    conflict_bytes: int
    held_studies: int
    held_bytes: int
    files_to_remove: int = Field(
        description="of studies that are deleted already, and second files of one object"
    )
    bytes_to_remove: int
    clean_up: bool
    retention_days: int
    forecast: Forecast


class PatientUsage(Answer):
    """What one patient occupies."""

    id: int
    patient_id: str
    issuer_of_patient_id: str
    name: str
    ambiguous: bool = Field(description="whether its objects name several people")
    studies: int
    instances: int
    size_bytes: int


class StudyUsage(Answer):
    """What one study occupies."""

    id: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    study_date: date | None
    description: str
    modalities: list[str]
    instances: int
    size_bytes: int
    held: bool
    last_received_at: datetime


class ModalityUsage(Answer):
    """What the series of one modality occupy."""

    modality: str
    series: int
    instances: int
    size_bytes: int


class ExpiredStudy(Answer):
    """One study that the clean-up deletes."""

    study_instance_uid: str
    patient_id: str
    patient_name: str
    study_date: date | None
    description: str
    modalities: list[str]
    instances: int
    size_bytes: int
    last_received_at: datetime


class CleanUpPreview(Answer):
    """What the clean-up would delete now, oldest first."""

    enabled: bool = Field(description="whether the clean-up is on; the list is what it would take")
    retention_days: int
    waiting: bool = Field(description="it waits: not everything received is indexed yet")
    items: list[ExpiredStudy]
    next_cursor: str | None = Field(description="give it back as `cursor` to read on; opaque")


class Hold(Request):
    """The reason to exempt a study from clean-up and deletion."""

    reason: Reason


class CleanUpAge(Request):
    """How long ago the last image of a study that is cleaned up was received, at least."""

    retention_days: StrictInt = Field(ge=1, le=3650)


class Deleted(Answer):
    """What was deleted; the files follow within seconds, and nothing comes back by itself."""

    study_instance_uid: str
    instances: int
    size_bytes: int
    files: int = Field(
        description="files to remove: of its objects, versions set aside, copies. Objects that were"
        " received but are not indexed yet are removed, too, and not counted"
    )
