"""Reads metadata, bulk data and frames from the files of objects."""

import os
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from typing_extensions import override

from draw_dicomweb.adapters.object_files import ArchiveFiles
from draw_dicomweb.models import ArchivedObject, BulkRange, Frames
from draw_dicomweb.ports.metadata import MetadataReader
from draw_dicomweb.ports.objects import ValueSource
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.transcoding.decoding import Decoding, EncodedFrame
from draw_shared.dicom.transcoding.encoding import EXPLICIT, swap_bytes
from draw_shared.dicom.transcoding.pixels import Image
from draw_shared.dicom.transcoding.source import Untranscodable
from draw_shared.dicom.transcoding.survey import Facts
from draw_shared.dicom.web.frame_tables import FrameNotThere, FrameTable, make_frame_table
from draw_shared.dicom.web.json_model import SeriesMetadata, read_metadata
from draw_shared.dicom.web.object_json import BulkValue
from draw_shared.dicom.web.opened_file import OpenedFile, StoredImage
from draw_shared.wording import message

PART_BYTES: Final = 256 * 1024
WORD: Final = b"OW"


class FileMetadataReader(MetadataReader):
    """Makes documents of the files."""

    def __init__(self, files: ArchiveFiles) -> None:
        self._files = files

    @override
    def document(self, objects: Iterable[ArchivedObject]) -> bytes:
        series = SeriesMetadata()
        for one in objects:
            # What is gone or cannot be read has no metadata; the others have.
            with suppress(Undecodable, NotFound, OSError), self._files.opened(one) as descriptor:
                series.add(descriptor, partial(_bulk_uri, one.sop_instance_uid))
        return series.document()


def _bulk_uri(sop_instance_uid: str, path: str) -> str:
    return f"instances/{sop_instance_uid}/bulkdata/{path}"


class FileValueSource(ValueSource):
    """Reads single values and frames."""

    def __init__(self, files: ArchiveFiles, decoding: Decoding, *, longest_frame: int) -> None:
        self._files = files
        self._decoding = decoding
        self._longest_frame = longest_frame

    @override
    def bulk(self, stored: ArchivedObject, path: str) -> BulkRange:
        with self._reading(stored) as descriptor:
            found = {one.path: one for one in read_metadata(descriptor, str).bulk}
            value = found.get(path)
        if value is None:
            raise NotFound(message("The object has no bulk data at this path."))
        if value.encapsulated:
            raise Conflict(message("These pixel data are encapsulated: ask for their frames."))
        return BulkRange(value.vr, value.length, partial(self._part, stored, value))

    @override
    def frames(self, stored: ArchivedObject) -> Frames:
        with self._reading(stored) as descriptor:
            image = read_metadata(descriptor, str).image
            opened = OpenedFile.open(descriptor)
            table = make_frame_table(image, opened.read)
        as_stored = partial(self._frame, stored, table)
        decoded = partial(self._decoded, stored, image, table) if table.encapsulated else as_stored
        return Frames(table.frames, table.encapsulated, as_stored, decoded)

    def _part(
        self, stored: ArchivedObject, value: BulkValue, begin: int, end: int
    ) -> Iterator[bytes]:
        """Yield the bytes of a value from one position to before another."""
        with self._reading(stored) as descriptor:
            opened = OpenedFile.open(descriptor)
            for at in range(begin, end, PART_BYTES):
                size = min(PART_BYTES, end - at)
                part = opened.read(value.position + at, size)
                if len(part) < size:
                    raise Conflict(message("The file is cut short."))
                yield swap_bytes(part, value.vr.encode()) if value.big else part

    def _frame(self, stored: ArchivedObject, table: FrameTable, number: int) -> bytes:
        with self._reading(stored) as descriptor:
            read = (
                OpenedFile.open(descriptor).read
                if table.inflated
                else partial(_read_at, descriptor)
            )
            frame = table.read(number, read)
        return swap_bytes(frame, WORD) if table.big else frame

    def _decoded(
        self, stored: ArchivedObject, described: StoredImage, table: FrameTable, number: int
    ) -> bytes:
        facts = Facts(EXPLICIT.unsigned, described.values)
        with self._reading(stored) as descriptor:
            extents = table.extents(number)
            frame = EncodedFrame(
                array("Q", (extent.position for extent in extents)),
                array("Q", (extent.length for extent in extents)),
            )
            image = Image.of(facts, described.transfer_syntax_uid, self._longest_frame)
            with self._decoding.frames(descriptor, image, [frame]) as decoded:
                return decoded.read(0, image.frame_bytes)

    @contextmanager
    def _reading(self, stored: ArchivedObject) -> Iterator[int]:
        """Yield the file's descriptor; failures are told in words.

        Raises:
            NotFound: the file, or a frame, is not there.
            Conflict: the object cannot be read.
        """
        try:
            with self._files.opened(stored) as descriptor:
                yield descriptor
        except FrameNotThere as error:
            raise NotFound(str(error)) from error
        except (Undecodable, Untranscodable) as error:
            raise Conflict(
                message("This object cannot be read: %(reason)s", reason=str(error))
            ) from error


def _read_at(descriptor: int, position: int, size: int) -> bytes:
    return os.pread(descriptor, size, position)
