"""A stored Part 10 file: where its data set begins, how it is encoded, what describes its frames.

Files are read by position, in blocks, so that gigabytes of pixel data are stepped over and a file
that somebody shortens meanwhile gives an error instead of a signal.
"""

import os
from array import array
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.data_set import BIG_FILE_META, LEADING_GROUPS, is_deflated
from draw_shared.dicom.encoding.element_forms import PIXEL_DATA
from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.transcoding.encoding import BIG, EXPLICIT, AsWritten, as_written
from draw_shared.dicom.transcoding.source import (
    DataSetSource,
    FileSource,
    InflatedSource,
    Untranscodable,
)
from draw_shared.dicom.transcoding.survey import NOTED
from draw_shared.wording import message

HEAD_BYTES: Final = 64 * 1024
MIN_BEGINNING: Final = 4096
"""Bytes of a data set that show its encoding."""
LEADING: Final = LEADING_GROUPS | {BIG_FILE_META}
MAX_INFLATED_BYTES: Final = 512 * 1024 * 1024
"""A deflated data set of more bytes is not read to its end."""

EXTENDED_OFFSETS: Final = 0x7FE00001
EXTENDED_LENGTHS: Final = 0x7FE00002
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_PIXEL_DATA: Final = 0x7FE00009
PIXEL_VALUES: Final = frozenset((FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA, PIXEL_DATA))
IMAGE_TAGS: Final = NOTED
"""Elements whose values are kept because they describe the frames."""


class ValuePosition(NamedTuple):
    """The position of one value of the outermost data set."""

    position: int
    """In the file, or in the inflated data set."""
    length: int
    """Bytes; of an encapsulated value, up to the end of its last fragment."""
    encapsulated: bool = False


@dataclass(slots=True)
class StoredImage:
    """What the outermost data set says of its frames."""

    transfer_syntax_uid: str
    big: bool = False
    """Whether its numbers are in big endian."""
    inflated: bool = False
    """Whether positions count from the beginning of the inflated data set."""
    values: dict[int, bytes] = field(default_factory=dict)
    """Raw values of `IMAGE_TAGS`."""
    places: dict[int, ValuePosition] = field(default_factory=dict)
    """Pixel data and their extended offset table, by tag."""
    fragments: "tuple[array[int], array[int]] | None" = None
    """Positions and lengths of the fragments of encapsulated pixel data; first the offset table."""

    def number(self, tag: int) -> int | None:
        """Return the US value of an element, or None."""
        raw = self.values.get(tag, b"")
        return (
            (BIG if self.big else EXPLICIT).unsigned.unpack_from(raw)[0] if len(raw) > 1 else None
        )

    def text(self, tag: int) -> str:
        """Return the value of an element of ASCII."""
        return self.values.get(tag, b"").strip(b" \0").decode("ascii", "replace")


class OpenedFile(NamedTuple):
    """A Part 10 file that is open."""

    descriptor: int
    offset: int
    """Where the data set begins."""
    transfer_syntax_uid: str
    written: AsWritten
    deflated: bool

    @classmethod
    def open(cls, descriptor: int, head: bytes = b"") -> "OpenedFile":
        """Return how the data set of a file is encoded.

        Args:
            descriptor: of the file.
            head: its beginning, if that has been read.

        Raises:
            Undecodable: it is no Part 10 file, says no transfer syntax, or does not inflate.
            OSError: it cannot be read.
        """
        try:
            meta, offset = part10.decode(head)
        except Undecodable:
            head = os.pread(descriptor, part10.MAX_META_BYTES, 0)
            meta, offset = part10.decode(head)
        syntax = meta.transfer_syntax_uid
        if not syntax:
            raise Undecodable(message("the file does not say its transfer syntax"))
        beginning = head[offset:]
        if len(beginning) < MIN_BEGINNING or beginning[:2] in LEADING or syntax == DEFLATED_LITTLE:
            beginning = os.pread(descriptor, HEAD_BYTES, offset)
        deflated = is_deflated(beginning, syntax)
        opened = cls(descriptor, offset, syntax, AsWritten(EXPLICIT), deflated)
        if deflated:
            beginning = opened.read(0, HEAD_BYTES)
        return opened._replace(written=as_written(beginning, syntax))

    @property
    def base(self) -> int:
        """What is added to a position in the data set to get that of `ValuePosition`."""
        return 0 if self.deflated else self.offset

    def source(self) -> DataSetSource:
        """Return the data set as a source at its beginning."""
        if self.deflated:
            return InflatedSource(self.descriptor, self.offset, MAX_INFLATED_BYTES)
        return FileSource(self.descriptor, self.offset)

    def read(self, position: int, size: int) -> bytes:
        """Return bytes by a position of `ValuePosition`; fewer only at the end.

        A deflated data set is inflated up to there each time.

        Raises:
            Undecodable: it does not inflate so far.
            OSError: the file cannot be read.
        """
        if not self.deflated:
            return os.pread(self.descriptor, size, position)
        source = self.source()
        try:
            source.skip_to(position)
            return source.ahead(size)
        except Untranscodable as error:
            raise Undecodable(str(error)) from error
