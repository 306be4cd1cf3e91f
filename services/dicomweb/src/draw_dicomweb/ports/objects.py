"""Ports of retrieving: what the index knows of objects, and their files."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from draw_dicomweb.models import ArchivedObject, BulkRange, Frames, UidPath


class ObjectIndex(Protocol):
    """The current objects."""

    def objects(self, named: UidPath) -> Sequence[ArchivedObject]:
        """Return the objects of a study, a series or an instance, as they are numbered."""


class ObjectSource(Protocol):
    """The files of objects."""

    def chunks(self, stored: ArchivedObject, transfer_syntax: str) -> Iterator[bytes]:
        """Yield a Part 10 file in a transfer syntax, or as it is stored for `*`.

        A failure that can be known beforehand is raised before the first part.

        Raises:
            NotFound: the file is not on the storage volume.
            Conflict: the object cannot be had in this transfer syntax; the text says why.
        """


class ValueSource(Protocol):
    """Single values and frames in the files of objects.

    Raises:
        NotFound: the file, or what is asked for, is not there.
        Conflict: the object cannot be read.
    """

    def bulk(self, stored: ArchivedObject, path: str) -> BulkRange:
        """Return a long value by its path, as `7FE00010` or `00400555/0/00401234`."""

    def frames(self, stored: ArchivedObject) -> Frames:
        """Return the frames."""
