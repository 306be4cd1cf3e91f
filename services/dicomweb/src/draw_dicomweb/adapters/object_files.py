"""Reads the files of objects, as they are stored or in other transfer syntaxes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from typing_extensions import override

from draw_dicomweb.models import ArchivedObject
from draw_dicomweb.ports.objects import ObjectSource
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.dicom.encoding.part10 import MAX_META_BYTES, FileMeta, decode
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.transcoding.source import Untranscodable
from draw_shared.dicom.transcoding.transcoder import Transcoder
from draw_shared.wording import message

PART_BYTES: Final = 256 * 1024
AS_STORED: Final = "*"


class ArchiveFiles(ObjectSource):
    """Opens files by their path in the index, below the storage root."""

    def __init__(self, root: Path, transcoder: Transcoder) -> None:
        self._root = root
        self._transcoder = transcoder

    @override
    def chunks(self, stored: ArchivedObject, transfer_syntax: str) -> Iterator[bytes]:
        path = self.path_of(stored)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _missing() from error
        if transfer_syntax in {AS_STORED, stored.transfer_syntax_uid}:
            return _WholeFile(descriptor)
        try:
            meta, _ = decode(os.pread(descriptor, MAX_META_BYTES, 0))
        except Undecodable as error:
            raise _impossible(str(error)) from error
        finally:
            os.close(descriptor)
        chunks = self._transcoder.chunks(path, transfer_syntax)
        try:
            first = next(chunks, b"")
        except Untranscodable as error:
            raise _impossible(str(error)) from error
        except OSError as error:
            raise _missing() from error
        return _with_meta(meta._replace(transfer_syntax_uid=transfer_syntax), first, chunks)

    @contextmanager
    def opened(self, stored: ArchivedObject) -> Iterator[int]:
        """Yield a descriptor of an object's file.

        Raises:
            NotFound: it is not on the storage volume.
        """
        try:
            descriptor = os.open(self.path_of(stored), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _missing() from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def path_of(self, stored: ArchivedObject) -> Path:
        """Return the path of an object's file.

        Raises:
            NotFound: it would be outside the storage root.
        """
        if stored.path.startswith("/") or ".." in stored.path.split("/") or "\0" in stored.path:
            raise _missing()
        return self._root / stored.path


class _WholeFile(Iterator[bytes]):
    """Reads a file to its end and closes it.

    It is no generator: one whose client goes away before the first part never begins, and would
    keep its file open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @override
    def __next__(self) -> bytes:
        part = b"" if self._descriptor is None else os.read(self._descriptor, PART_BYTES)
        if not part:
            self._close()
            raise StopIteration
        return part

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _with_meta(meta: FileMeta, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield meta.encode()
    yield first
    yield from rest


def _missing() -> NotFound:
    return NotFound(message("The file of this instance is not on the storage volume."))


def _impossible(why: str) -> Conflict:
    return Conflict(
        message("This object cannot be had in this transfer syntax: %(reason)s", reason=why)
    )
