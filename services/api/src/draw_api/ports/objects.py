"""Ports of viewing stored objects: their paths, their content, and recent views."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from draw_api.models.archive import StoredObject
from draw_api.models.objects import (
    Elements,
    ObjectFacts,
    Picture,
    Rendering,
    StoredFile,
    StoredSlice,
)
from draw_shared.routing.facts import HeaderValues
from draw_shared.routing.subjects import ConditionSubject


class ObjectRepository(Protocol):
    """The paths of current objects."""

    def stored_object(self, sop_instance_uid: str) -> StoredObject | None:
        """Return the path of an instance's current file."""

    def slices(self, series_instance_uid: str) -> Sequence[StoredSlice]:
        """Return the instances of a series by their number, up to a limit."""

    def files(self, study_instance_uid: str) -> Sequence[StoredFile]:
        """Return the files of a study, each in a folder of its series."""

    def series_files(self, series_instance_uid: str) -> Sequence[StoredFile]:
        """Return the files of a series."""


class ObjectReader(Protocol):
    """Opens files that may be hostile, within limits of time and memory."""

    def facts(self, path: str, frame: int = 1) -> ObjectFacts:
        """Return what an object contains, and where one of its frames lies."""

    def picture(self, path: str, rendering: Rendering) -> Picture:
        """Return one frame as a picture.

        Raises:
            NotFound: there is no such frame.
            Conflict: it cannot be rendered.
        """

    def elements(self, path: str, search: str) -> Elements:
        """Return the elements, or those that match a search and the sequences around them."""

    def values(self, path: str, subjects: Sequence[ConditionSubject]) -> HeaderValues:
        """Return what an object says about subjects of conditions; nothing if it is unreadable."""

    def archive(self, files: Sequence[StoredFile]) -> Iterator[bytes]:
        """Yield a ZIP archive in pieces; files that no longer exist are left out."""
