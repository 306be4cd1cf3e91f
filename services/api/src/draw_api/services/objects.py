"""Looks into stored objects: renders images, reads elements, hands out whole studies."""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from draw_api.models.access import Principal
from draw_api.models.archive import StoredObject
from draw_api.models.failures import NotFound
from draw_api.models.objects import (
    Elements,
    ObjectFacts,
    Picture,
    Rendering,
    StoredFile,
    StoredSlice,
)
from draw_api.services.audit import AuditTrail

IMAGES: Final = "images and tables"
ELEMENTS: Final = "elements"
"""What somebody looks at, as the transaction log has it."""


class Places(Protocol):
    """Where the current objects lie."""

    def stored_object(self, sop_instance_uid: str) -> StoredObject | None:
        """Return where the current file of an instance lies."""

    def slices(self, series_instance_uid: str) -> Sequence[StoredSlice]:
        """Return the instances of a series by their number, up to a limit."""

    def files(self, study_instance_uid: str) -> Sequence[StoredFile]:
        """Return the files of a study."""


class Reader(Protocol):
    """Opens files that may be hostile, within limits of time and memory."""

    def facts(self, path: str) -> ObjectFacts:
        """Return what an object shows."""

    def picture(self, path: str, rendering: Rendering) -> Picture:
        """Return one frame as a picture."""

    def elements(self, path: str, search: str) -> Elements:
        """Return the elements, or those around what is searched for."""

    def archive(self, files: Sequence[StoredFile]) -> Iterator[bytes]:
        """Yield a ZIP archive in pieces; a file that is not there any more is left out."""


class Views(Protocol):
    """What somebody has looked at lately."""

    def first(self, by: Principal, what: str, uid: str) -> bool:
        """Return whether this is no view that is on record already.

        It counts as one when the transaction is committed.
        """


class Objects:
    """Shows what is inside the objects of the archive, and keeps on record who has looked."""

    def __init__(self, places: Places, reader: Reader, views: Views, audit: AuditTrail) -> None:
        self._places = places
        self._reader = reader
        self._views = views
        self._audit = audit

    def slices(self, series_instance_uid: str) -> Sequence[StoredSlice]:
        """Return the instances of a series by their number."""
        return self._places.slices(series_instance_uid)

    def view(self, by: Principal, study_instance_uid: str, series_instance_uid: str) -> None:
        """Keep on record that somebody looks at the images of a series."""
        self._audit.record(
            by, "series.view", series_instance_uid, study_instance_uid=study_instance_uid
        )

    def facts(self, by: Principal, sop_instance_uid: str) -> ObjectFacts:
        """Return what an object shows; NotFound when the index does not have it."""
        return self._reader.facts(self._looked_at(by, sop_instance_uid, IMAGES).path)

    def picture(self, by: Principal, sop_instance_uid: str, rendering: Rendering) -> Picture:
        """Return one frame as a picture.

        Raises:
            NotFound: the index does not have it, or it has no such frame.
            Conflict: it cannot be rendered.
        """
        stored = self._looked_at(by, sop_instance_uid, IMAGES)
        return self._reader.picture(stored.path, rendering)

    def elements(self, by: Principal, sop_instance_uid: str, search: str = "") -> Elements:
        """Return the object's elements; NotFound when the index does not have it."""
        stored = self._looked_at(by, sop_instance_uid, ELEMENTS)
        found = self._reader.elements(stored.path, search)
        return found.model_copy(update={"header_damage": stored.header_damage})

    def hand_out_study(self, by: Principal, study_instance_uid: str) -> Iterator[bytes]:
        """Return a ZIP archive of a study in pieces, and keep on record who asked for it.

        Raises:
            NotFound: the index has no such study.
        """
        files = self._places.files(study_instance_uid)
        if not files:
            raise NotFound("The index has no such study.")
        self._audit.record(
            by,
            "study.download",
            f"{len(files)} objects",
            study_instance_uid=study_instance_uid,
        )
        return self._reader.archive(files)

    def _looked_at(self, by: Principal, sop_instance_uid: str, what: str) -> StoredObject:
        """Return where an object lies that is about to be shown, once that is on record."""
        found = self._places.stored_object(sop_instance_uid)
        if found is None:
            raise NotFound("The index has no such instance.")
        if self._views.first(by, what, sop_instance_uid):
            self._audit.record(
                by,
                "instance.view",
                what,
                study_instance_uid=found.study_instance_uid,
                sop_instance_uid=found.sop_instance_uid,
            )
        return found
