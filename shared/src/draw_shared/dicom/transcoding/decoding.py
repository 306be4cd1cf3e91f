"""Reads stored objects for another transfer syntax, and decodes their compressed data.

All that a hostile object could abuse happens here: nothing else inflates, walks through the data
set or decodes pixel data. Services run it in `DecodingProcesses`.
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from typing_extensions import override

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.data_set import is_deflated
from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE, EXPLICIT_LITTLE, UNCOMPRESSED
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.transcoding.encoding import AsWritten, as_written, encoding_of
from draw_shared.dicom.transcoding.payload import Payload, PayloadWriter
from draw_shared.dicom.transcoding.pixels import EncapsulatedPixels, Image, gather_frame
from draw_shared.dicom.transcoding.plan import Plan, PlanWriter
from draw_shared.dicom.transcoding.rewriting import Rewriting
from draw_shared.dicom.transcoding.source import (
    DataSetSource,
    FileSource,
    InflatedSource,
    Untranscodable,
)
from draw_shared.dicom.transcoding.survey import Facts, Survey, survey_data_set
from draw_shared.wording import message

MAX_PICTURES: Final = 64
"""Encapsulated images in one object, including those of icons."""
HEAD_BYTES: Final = 64 * 1024
"""Bytes of a data set that are read to determine its encoding."""
NATIVE: Final = frozenset((*UNCOMPRESSED, DEFLATED_LITTLE))
"""Transfer syntaxes that do not encapsulate pixel data."""
JPIP_SYNTAXES: Final = frozenset(
    (
        "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205",
    )
)  # fmt: skip
"""Their pixel data are elsewhere (PS3.5 A.6)."""
COPIES_OF_A_FRAME: Final = 6
"""Copies of a frame in memory while it is decoded."""
PROCESS_BYTES: Final = 256 * 1024**2
"""Memory of a process without frames: interpreter, codecs, and notes about one object."""


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """What decoding one object may take."""

    longest_frame: int = 128 * 1024**2
    """Longest frame of encapsulated pixel data, encoded or decoded, bytes."""
    longest_inflated: int = 1024**3
    """Longest inflated data set, bytes."""
    cpu_seconds: int = 30
    """Processor time for an object's headers and first frames, and for each further frame."""
    process_bytes: int = PROCESS_BYTES
    """Memory of a process in addition to frames, bytes."""

    @property
    def memory_bytes(self) -> int:
        """Memory that a decoding process may use, bytes."""
        return self.process_bytes + COPIES_OF_A_FRAME * self.longest_frame


class EncodedFrame(NamedTuple):
    """The position of one frame's fragments in the stored file."""

    positions: "array[int]"
    lengths: "array[int]"


class Decoding(Protocol):
    """Reads stored objects, and decodes their compressed data."""

    def plan(self, descriptor: int, transfer_syntax_uid: str) -> Plan:
        """Plan the conversion of a Part 10 file's data set to an uncompressed transfer syntax.

        Raises:
            Untranscodable: it is impossible; the text says why.
            OSError: the file cannot be read, or there is no space.
        """

    def frames(self, descriptor: int, image: Image, frames: Sequence[EncodedFrame]) -> Payload:
        """Decode these frames of a Part 10 file, in order.

        Raises:
            Untranscodable: one cannot be decoded.
            OSError: the file cannot be read, or there is no space.
        """


class Decoder(Decoding):
    """Decodes in this process.

    Args:
        room: folder for long results, in files without a name.
    """

    def __init__(self, limits: DecodingLimits, room: Path) -> None:
        self._limits = limits
        self._room = room

    @override
    def plan(self, descriptor: int, transfer_syntax_uid: str) -> Plan:
        # The sender deflates it.
        explicit = transfer_syntax_uid == DEFLATED_LITTLE
        target = encoding_of(EXPLICIT_LITTLE if explicit else transfer_syntax_uid)
        stored = _StoredObject.of(descriptor, self._limits.longest_inflated)
        syntax = stored.transfer_syntax_uid
        survey = survey_data_set(
            stored.source(), stored.written, target, compressed=syntax not in NATIVE
        )
        pictures = {
            start: EncapsulatedPixels(facts, syntax, self._limits.longest_frame, stored.read)
            for start, facts in _find_encapsulated(survey, syntax)
        }
        rewriting = Rewriting(stored.source(), stored.written, target, survey, pictures)
        with PayloadWriter(self._room) as out:
            writer = PlanWriter(out)
            for part in rewriting.parts():
                writer.add(part)
            for picture in pictures.values():
                fragments = picture.fragments
                positions = array("Q", (stored.offset + one for one in fragments.positions))
                writer.add_image(picture.image, picture.begins, positions, fragments.lengths)
            return writer.finish()

    @override
    def frames(self, descriptor: int, image: Image, frames: Sequence[EncodedFrame]) -> Payload:

        def read(position: int, size: int) -> bytes:
            return _read(descriptor, position, size)

        with PayloadWriter(self._room) as out:
            for one in frames:
                longest = self._limits.longest_frame
                out.write(image.decode(gather_frame(*one, longest, read))[0])
            return out.finish()


class _StoredObject(NamedTuple):
    """An object in its file."""

    descriptor: int
    offset: int
    """Where the data set begins."""
    transfer_syntax_uid: str
    deflated: bool
    longest_inflated: int
    written: AsWritten = AsWritten(encoding_of(EXPLICIT_LITTLE))

    @classmethod
    def of(cls, descriptor: int, longest_inflated: int) -> "_StoredObject":
        head = os.pread(descriptor, part10.MAX_META_BYTES, 0)
        try:
            meta, offset = part10.decode(head)
        except Undecodable as error:
            raise Untranscodable(str(error)) from error
        syntax = meta.transfer_syntax_uid
        if not syntax:
            raise Untranscodable(message("the file does not say its transfer syntax"))
        if syntax in JPIP_SYNTAXES:
            raise Untranscodable(message("the pixel data lie elsewhere"))
        deflated = is_deflated(os.pread(descriptor, HEAD_BYTES, offset), syntax)
        stored = cls(descriptor, offset, syntax, deflated, longest_inflated)
        beginning = stored.source().ahead(HEAD_BYTES)
        return stored._replace(written=as_written(beginning, syntax))

    def source(self) -> DataSetSource:
        """Return the data set as a source at its beginning."""
        if self.deflated:
            return InflatedSource(self.descriptor, self.offset, self.longest_inflated)
        return FileSource(self.descriptor, self.offset)

    def read(self, position: int, size: int) -> bytes:
        """Return bytes of the data set, which must not be deflated."""
        return _read(self.descriptor, self.offset + position, size)


def _read(descriptor: int, position: int, size: int) -> bytes:
    raw = os.pread(descriptor, size, position)
    if len(raw) < size:
        raise Untranscodable(message("the data set is cut short"))
    return raw


def _find_encapsulated(survey: Survey, stored: str) -> Iterator[tuple[int, Facts]]:
    found = [(start, facts) for start, facts in survey.facts.items() if facts.pixels is not None]
    if found and stored in NATIVE:
        raise Untranscodable(message("encapsulated pixel data in a transfer syntax without"))
    if len(found) > MAX_PICTURES:
        raise Untranscodable(message("too many encapsulated images"))
    yield from found
