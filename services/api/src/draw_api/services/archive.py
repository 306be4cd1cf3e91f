"""Patients, studies, series and instances of the index, and their files."""

from collections.abc import Sequence
from typing import Final

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
from draw_api.ports.archive import ArchiveRepository
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import FieldProblem, Invalid, NotFound
from draw_shared.wording import message

LAST_ADDED: Final = ListOrder()


class ArchiveService:
    """Finds patients, studies, series and instances."""

    def __init__(self, catalogue: ArchiveRepository, audit: AuditTrail) -> None:
        self._catalogue = catalogue
        self._audit = audit

    def patients(
        self,
        criteria: PatientCriteria,
        cursor: str | None,
        limit: int,
        order: ListOrder = LAST_ADDED,
    ) -> CountedPage[Patient]:
        """Return a page of the patients that match, and how many do as far as that is known."""
        return self._catalogue.patients(criteria, order, cursor, limit)

    def patient(self, patient_key: int) -> Patient:
        """Return one patient.

        Raises:
            NotFound: the index does not have it.
        """
        found = self._catalogue.patient(patient_key)
        if found is None:
            raise NotFound(message("The index has no such patient."))
        return found

    def months(self, patient_key: int, most: int) -> Sequence[StudyMonth]:
        """Return the newest months in which a patient was examined, newest first."""
        return self._catalogue.months(patient_key, most)

    def studies(
        self,
        criteria: StudyCriteria,
        cursor: str | None,
        limit: int,
        order: ListOrder = LAST_ADDED,
    ) -> CountedPage[Study]:
        """Return a page of the studies that match, and how many do as far as that is known.

        Raises:
            Invalid: the range of dates is empty.
        """
        begin, end = criteria.date_from, criteria.date_to
        if begin is not None and end is not None and end < begin:
            raise Invalid([FieldProblem("date_to", message("must not be before date_from"))])
        return self._catalogue.studies(criteria, order, cursor, limit)

    def begin_export(self, by: Principal, what: str) -> None:
        """Record that a user exports a list of patients or studies."""
        self._audit.record(by, f"{what}.export")

    def study(self, study_instance_uid: str) -> Study:
        """Return one study.

        Raises:
            NotFound: the index does not have it.
        """
        found = self._catalogue.study(study_instance_uid)
        if found is None:
            raise NotFound(message("The index has no such study."))
        return found

    def series(self, study_instance_uid: str, cursor: str | None, limit: int) -> Page[Series]:
        """Return a page of the study's series; NotFound when there is no such study."""
        self.study(study_instance_uid)
        return self._catalogue.series(study_instance_uid, cursor, limit)

    def numbered_series(
        self, study_instance_uid: str, cursor: str | None, limit: int
    ) -> Page[Series]:
        """Return a page of the study's series by their number; those without one come last."""
        return self._catalogue.numbered_series(study_instance_uid, cursor, limit)

    def series_around(self, series_instance_uid: str, beside: int) -> Sequence[Series]:
        """Return a series among so many of its study before and after it, by their number."""
        return self._catalogue.series_around(series_instance_uid, beside)

    def one_series(self, study_instance_uid: str, series_instance_uid: str) -> Series:
        """Return one series; NotFound when the study has no such series."""
        found = self._catalogue.one_series(series_instance_uid)
        if found is None or found.study_instance_uid != study_instance_uid:
            raise NotFound(message("The study has no such series."))
        return found

    def instances(
        self, study_instance_uid: str, series_instance_uid: str, cursor: str | None, limit: int
    ) -> Page[Instance]:
        """Return a page of the series' instances; NotFound when the study has no such series."""
        self.one_series(study_instance_uid, series_instance_uid)
        return self._catalogue.instances(series_instance_uid, cursor, limit)

    def instance(self, sop_instance_uid: str) -> Instance:
        """Return one instance; NotFound when the index does not have it."""
        found = self._catalogue.instance(sop_instance_uid)
        if found is None:
            raise NotFound(message("The index has no such instance."))
        return found

    def hand_out(self, by: Principal, sop_instance_uid: str) -> StoredObject:
        """Return the path of an instance's file, and record who asked for it.

        Raises:
            NotFound: the index does not have the instance.
        """
        found = self._catalogue.stored_object(sop_instance_uid)
        if found is None:
            raise NotFound(message("The index has no such instance."))
        self._audit.record(
            by,
            "instance.download",
            study_instance_uid=found.study_instance_uid,
            sop_instance_uid=found.sop_instance_uid,
        )
        return found
