"""Shows the content of stored objects: renders images, reads elements, archives studies."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from draw_api.models.archive import StoredObject, Study
from draw_api.models.objects import (
    Elements,
    ObjectFacts,
    Picture,
    Rendering,
    StoredFile,
    StoredSlice,
    archive_names,
)
from draw_api.ports.objects import ObjectReader, ObjectRepository
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.access.recent_views import ViewRegister
from draw_shared.contracts.failures import NotFound
from draw_shared.wording import message

IMAGES: Final = message("images and tables")
ELEMENTS: Final = "elements"
"""What a user views, in the words of the transaction log."""


class ObjectService:
    """Shows the content of stored objects, and records who has viewed them."""

    def __init__(
        self, places: ObjectRepository, reader: ObjectReader, views: ViewRegister, audit: AuditTrail
    ) -> None:
        self._places = places
        self._reader = reader
        self._views = views
        self._audit = audit

    def slices(self, series_instance_uid: str) -> Sequence[StoredSlice]:
        """Return the instances of a series by their number."""
        return self._places.slices(series_instance_uid)

    def view(self, by: Principal, study_instance_uid: str, series_instance_uid: str) -> None:
        """Record that a user views the images of a series."""
        self._audit.record(
            by, "series.view", series_instance_uid, study_instance_uid=study_instance_uid
        )

    def facts(self, by: Principal, sop_instance_uid: str, frame: int = 1) -> ObjectFacts:
        """Return what an object contains; NotFound when the index does not have it."""
        return self._reader.facts(self._record_view(by, sop_instance_uid, IMAGES).path, frame)

    def picture(self, by: Principal, sop_instance_uid: str, rendering: Rendering) -> Picture:
        """Return one frame as a picture.

        Raises:
            NotFound: the index does not have it, or it has no such frame.
            Conflict: it cannot be rendered.
        """
        stored = self._record_view(by, sop_instance_uid, IMAGES)
        return self._reader.picture(stored.path, rendering)

    def elements(self, by: Principal, sop_instance_uid: str, search: str = "") -> Elements:
        """Return the object's elements; NotFound when the index does not have it."""
        stored = self._record_view(by, sop_instance_uid, ELEMENTS)
        found = self._reader.elements(stored.path, search)
        return found.model_copy(update={"header_damage": stored.header_damage})

    def hand_out_study(self, by: Principal, study_instance_uid: str) -> Iterator[bytes]:
        """Return a ZIP archive of a study in pieces, and record who asked for it.

        Raises:
            NotFound: the index has no such study.
        """
        files = self._places.files(study_instance_uid)
        if not files:
            raise NotFound(message("The index has no such study."))
        self._audit.record(
            by,
            "study.download",
            f"{len(files)} objects",
            study_instance_uid=study_instance_uid,
        )
        return self._reader.archive(files)

    def hand_out_studies(self, by: Principal, studies: Sequence[Study]) -> Iterator[bytes]:
        """Return a ZIP archive of several studies, each in a folder, and record who asked for it.

        Raises:
            NotFound: the index has none of them.
        """
        files: list[StoredFile] = []
        for study, folder in zip(studies, archive_names(studies), strict=True):
            own = self._places.files(study.study_instance_uid)
            files += [replace(file, name=f"{folder}/{file.name}") for file in own]
            self._audit.record(
                by,
                "study.download",
                f"{len(own)} objects",
                study_instance_uid=study.study_instance_uid,
            )
        if not files:
            raise NotFound(message("The index has no such study."))
        return self._reader.archive(files)

    def hand_out_series(
        self, by: Principal, study_instance_uid: str, series_instance_uid: str
    ) -> Iterator[bytes]:
        """Return a ZIP archive of a series in pieces, and record who asked for it.

        Raises:
            NotFound: the index has nothing of such a series.
        """
        files = self._places.series_files(series_instance_uid)
        if not files:
            raise NotFound(message("There is no image in this series any more."))
        self._audit.record(
            by,
            "series.download",
            f"{series_instance_uid}: {len(files)} objects",
            study_instance_uid=study_instance_uid,
        )
        return self._reader.archive(files)

    def _record_view(self, by: Principal, sop_instance_uid: str, what: str) -> StoredObject:
        """Record that a user views an object, and return its path."""
        found = self._places.stored_object(sop_instance_uid)
        if found is None:
            raise NotFound(message("The index has no such instance."))
        if self._views.first(by, what, sop_instance_uid):
            self._audit.record(
                by,
                "instance.view",
                what,
                study_instance_uid=found.study_instance_uid,
                sop_instance_uid=found.sop_instance_uid,
            )
        return found
