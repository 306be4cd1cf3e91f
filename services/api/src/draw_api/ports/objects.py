"""Ports of looking into stored objects: where they lie, what they contain, and who looked first."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from draw_api.models.access import Principal
from draw_api.models.archive import StoredObject
from draw_api.models.objects import (
    Elements,
    ObjectFacts,
    Picture,
    Rendering,
    StoredFile,
    StoredSlice,
)


class ObjectRepository(Protocol):
    """Where the current objects lie."""

    def stored_object(self, sop_instance_uid: str) -> StoredObject | None:
        """Return where the current file of an instance lies."""

    def slices(self, series_instance_uid: str) -> Sequence[StoredSlice]:
        """Return the instances of a series by their number, up to a limit."""

    def files(self, study_instance_uid: str) -> Sequence[StoredFile]:
        """Return the files of a study, each in a folder of its series."""


class ObjectReader(Protocol):
    """Opens files that may be hostile, within limits of time and memory."""

    def facts(self, path: str) -> ObjectFacts:
        """Return what an object shows."""

    def picture(self, path: str, rendering: Rendering) -> Picture:
        """Return one frame as a picture.

        Raises:
            NotFound: there is no such frame.
            Conflict: it cannot be rendered.
        """

    def elements(self, path: str, search: str) -> Elements:
        """Return the elements, or those around what is searched for."""

    def archive(self, files: Sequence[StoredFile]) -> Iterator[bytes]:
        """Yield a ZIP archive in pieces; a file that is not there any more is left out."""


class ViewRegister(Protocol):
    """What somebody has looked at lately."""

    def first(self, by: Principal, what: str, uid: str) -> bool:
        """Return whether this is no view that is on record already.

        It counts as one when the transaction is committed.
        """
