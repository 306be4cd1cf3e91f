"""Port of the index that operators browse: patients, studies, series and SOP instances."""

from collections.abc import Sequence
from typing import Protocol

from draw_api.models.archive import (
    CountedPage,
    Instance,
    ListOrder,
    Patient,
    PatientCriteria,
    Series,
    StoredObject,
    Study,
    StudyCriteria,
    StudyMonth,
)
from draw_api.models.paging import Page


class ArchiveRepository(Protocol):
    """Reads the index; lists come newest first or in their natural order."""

    def patients(
        self, criteria: PatientCriteria, order: ListOrder, cursor: str | None, limit: int
    ) -> CountedPage[Patient]:
        """Return a page of patients, and how many match as far as that is known."""

    def patient(self, patient_key: int) -> Patient | None:
        """Return one patient."""

    def months(self, patient_key: int, most: int) -> Sequence[StudyMonth]:
        """Return the newest months in which a patient was examined, newest first."""

    def studies(
        self, criteria: StudyCriteria, order: ListOrder, cursor: str | None, limit: int
    ) -> CountedPage[Study]:
        """Return a page of studies, and how many match as far as that is known."""

    def study(self, study_instance_uid: str) -> Study | None:
        """Return one study."""

    def series(self, study_instance_uid: str, cursor: str | None, limit: int) -> Page[Series]:
        """Return a page of the study's series, in the order of arrival."""

    def numbered_series(
        self, study_instance_uid: str, cursor: str | None, limit: int
    ) -> Page[Series]:
        """Return a page of the study's series by their number; those without one come last."""

    def series_around(self, series_instance_uid: str, beside: int) -> Sequence[Series]:
        """Return a series among so many of its study before and after it, by their number."""

    def one_series(self, series_instance_uid: str) -> Series | None:
        """Return one series."""

    def instances(self, series_instance_uid: str, cursor: str | None, limit: int) -> Page[Instance]:
        """Return a page of the series' instances, in the order of arrival."""

    def instance(self, sop_instance_uid: str) -> Instance | None:
        """Return one instance."""

    def stored_object(self, sop_instance_uid: str) -> StoredObject | None:
        """Return the path of an instance's current file."""
