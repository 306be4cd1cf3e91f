"""Port of the content of the storage, its growth, and deleting studies."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from draw_api.models.paging import Page
from draw_api.models.storage import (
    CleanUpPreview,
    Deleted,
    GrowthDay,
    ModalityUsage,
    PatientUsage,
    StorageRules,
    StorageSums,
    StudyUsage,
)


class StorageRepository(Protocol):
    """The index, as far as storage needs it."""

    def rules(self) -> StorageRules:
        """Return the storage rules of the configuration in force."""

    def sums(self) -> StorageSums:
        """Return sums over the index."""

    def growth(self, days: int) -> Sequence[GrowthDay]:
        """Return the last days up to today, oldest first, including days without reception."""

    def first_day(self) -> date | None:
        """Return the day of the first reception."""

    def patients(self, cursor: str | None, limit: int) -> Page[PatientUsage]:
        """Return a page of patients, largest first."""

    def studies(self, cursor: str | None, limit: int) -> Page[StudyUsage]:
        """Return a page of studies, largest first."""

    def modalities(self) -> Sequence[ModalityUsage]:
        """Return every modality, largest first."""

    def expired(
        self, rules: StorageRules, now: datetime, cursor: str | None, limit: int
    ) -> CleanUpPreview:
        """Return a page of the studies that the clean-up deletes."""

    def still_expired(self, study_instance_uid: str, retention_days: int, now: datetime) -> bool:
        """Return whether the clean-up would delete a study that `held` has locked."""

    def held(self, study_instance_uid: str) -> bool | None:
        """Return whether the study is held, and lock it until the commit; None: there is none."""

    def set_held(self, study_instance_uid: str, *, held: bool) -> None:
        """Set or remove the mark."""

    def is_busy(self, study_instance_uid: str) -> bool:
        """Return whether an unfinished job names the study, but a delivery that only waits."""

    def delete(self, study_instance_uid: str, by: str) -> Deleted | None:
        """Delete the study's rows and record its files; None when there is none."""
