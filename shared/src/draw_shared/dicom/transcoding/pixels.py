"""Encapsulated pixel data as native ones, frame by frame (PS3.5 8.2, A.4).

A frame is decoded in memory, at most two at a time in a process, and waits in an unnamed file
until the peer has taken it: slow peers hold no memory.
"""

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

from draw_shared.dicom.transcoding.codestreams import Picture, require_agreement
from draw_shared.dicom.transcoding.encoding import Encoding
from draw_shared.dicom.transcoding.source import BLOCK_BYTES, Untranscodable
from draw_shared.dicom.transcoding.survey import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    NUMBER_OF_FRAMES,
    PHOTOMETRIC_INTERPRETATION,
    PIXEL_REPRESENTATION,
    PLANAR_CONFIGURATION,
    ROWS,
    SAMPLES_PER_PIXEL,
    Facts,
    Fragments,
)

ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
LONGEST_VALUE: Final = 0xFFFFFFFE
HELD_BYTES: Final = 1024 * 1024
"""Decoded frames up to this size stay in memory."""
PART: Final = ".part"
"""Ending of a file that has a name for a moment, where the file system has none without."""
END_OF_IMAGE: Final = b"\xff\xd9"
END_BYTES: Final = 10
"""How near the end of a fragment the end of an image may lie."""
BYTE_BITS: Final = 8
OFFSET_BYTES: Final = 4
LONGEST_TABLE: Final = 4 * 1024 * 1024
"""Most bytes of a basic offset table."""

_AT_ONCE: Final = threading.BoundedSemaphore(2)
"""Frames that are decoded at the same time: each is in memory as a whole, several times over."""

Span = tuple[int, int]
"""The first fragment of a frame and the one behind its last."""


class StoredPixels(NamedTuple):
    """Encapsulated pixel data of one data set in a file."""

    descriptor: int
    """Of the file; it must stay open."""
    offset: int
    """Where the outermost data set begins in the file."""
    facts: Facts
    """What is known of the data set that they belong to."""
    transfer_syntax_uid: str


class NativePixels:
    """The pixel data of one data set, decoded; leaving the block frees what is held.

    Args:
        stored: what is to be decoded.
        longest_frame: most bytes of a decoded frame.
        room: folder in which decoded frames lie, without a name.

    Raises:
        Untranscodable: the first frame cannot be decoded, or all would be too long.
        OSError: the file cannot be read.
    """

    def __init__(self, stored: StoredPixels, longest_frame: int, room: Path) -> None:
        facts = stored.facts
        if facts.pixels is None:
            raise Untranscodable("there are no encapsulated pixel data")
        self._descriptor = stored.descriptor
        self._offset = stored.offset
        self._facts = facts
        self._fragments = facts.pixels
        self._syntax = stored.transfer_syntax_uid
        self._longest_frame = longest_frame
        self._folder = room
        self._options = _options(facts)
        self._frame_bytes = _frame_bytes(self._options, longest_frame)
        self._picture = Picture(
            self._options["rows"],
            self._options["columns"],
            self._options["samples_per_pixel"],
            self._options["bits_allocated"],
        )
        self._spans = self._frames()
        self._kept = ExitStack()
        self._room: IO[bytes] | None = None
        self._small = b""
        self._properties: dict[str, Any] = {}
        self.length = self._frame_bytes * len(self._spans)
        """Of all decoded frames, bytes, without a byte to make it even."""
        if self.length > LONGEST_VALUE:
            raise Untranscodable("the decoded pixel data would be longer than a value may be")
        self.vr = b"OB" if self._options["bits_allocated"] <= BYTE_BITS else b"OW"
        self._decode(self._spans[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kept.close()

    def parts(self) -> Iterator[bytes]:
        """Yield all frames one after the other, and a byte that makes the length even.

        Raises:
            Untranscodable: a frame cannot be decoded.
            OSError: the file cannot be read.
        """
        for number, span in enumerate(self._spans):
            if number:
                self._decode(span)
            if self._small:
                yield self._small
            elif self._room is not None:
                self._room.seek(0)
                while part := self._room.read(BLOCK_BYTES):
                    yield part
        if self.length % 2:
            yield b"\0"

    def changes(self, encoding: Encoding) -> dict[int, tuple[bytes, bytes]]:
        """Return (VR, value) of the elements that describe the decoded pixel data otherwise."""
        values = self._facts.values
        found: dict[int, tuple[bytes, bytes]] = {}
        photometric = str(self._properties["photometric_interpretation"]).encode()
        if photometric != _text(values, PHOTOMETRIC_INTERPRETATION):
            padded = photometric + b" " * (len(photometric) % 2)
            found[PHOTOMETRIC_INTERPRETATION] = b"CS", padded
        if self._options["samples_per_pixel"] > 1:
            found[PLANAR_CONFIGURATION] = b"US", encoding.unsigned.pack(0)
        if len(self._spans) != _frame_count(values):
            text = str(len(self._spans)).encode()
            found[NUMBER_OF_FRAMES] = b"IS", text + b" " * (len(text) % 2)
        return found

    # --- frames ------------------------------------------------------------------------

    def _frames(self) -> list[Span]:
        """Return which fragments make up each frame (PS3.5 A.4)."""
        pixels = self._fragments
        fragments = len(pixels.lengths) - 1
        count = self._options["number_of_frames"]
        if fragments < 1:
            raise Untranscodable("there are no frames")
        offsets = self._offsets(pixels)
        if fragments == count:
            return [(n, n + 1) for n in range(1, fragments + 1)]
        begins = [1]
        if offsets:
            first = pixels.positions[1]
            starts = set(offsets)
            begins += [n for n in range(2, fragments + 1) if pixels.positions[n] - first in starts]
        elif fragments > count > 1:
            begins += [n + 1 for n in range(1, fragments) if self._ends_image(n)]
        elif fragments < count:
            raise Untranscodable("there are fewer fragments than frames")
        if len(begins) < count:
            raise Untranscodable("there are fewer frames than there should be")
        return list(zip(begins, [*begins[1:], fragments + 1], strict=True))

    def _offsets(self, pixels: Fragments) -> tuple[int, ...]:
        size = pixels.lengths[0]
        if size > LONGEST_TABLE:
            raise Untranscodable("the basic offset table is too long")
        raw = self._read(pixels.positions[0], size)
        return tuple(
            int.from_bytes(raw[at : at + OFFSET_BYTES], "little")
            for at in range(0, size - size % OFFSET_BYTES, OFFSET_BYTES)
        )

    def _ends_image(self, fragment: int) -> bool:
        pixels = self._fragments
        size = min(END_BYTES, pixels.lengths[fragment])
        end = pixels.positions[fragment] + pixels.lengths[fragment]
        return END_OF_IMAGE in self._read(end - size, size)

    def _read(self, position: int, size: int) -> bytes:
        raw = os.pread(self._descriptor, size, self._offset + position)
        if len(raw) < size:
            raise Untranscodable("the data set is cut short")
        return raw

    # --- decoding ----------------------------------------------------------------------

    def _decode(self, span: Span) -> None:
        """Decode one frame, and hold it until the next is decoded."""
        lengths = self._fragments.lengths[span[0] : span[1]]
        if sum(lengths) > self._longest_frame:
            raise Untranscodable(f"a frame is longer than {self._longest_frame} bytes")
        with _AT_ONCE:
            positions = self._fragments.positions[span[0] : span[1]]
            frame = b"".join(map(self._read, positions, lengths))
            raw = self._decoded(frame)
            if len(raw) != self._frame_bytes:
                raise Untranscodable("a frame has another size than the image")
            self._hold(raw)

    def _decoded(self, frame: bytes) -> bytes:
        if self._syntax == ENCAPSULATED_UNCOMPRESSED:
            self._properties = self._options
            return frame[: self._frame_bytes]
        if self._syntax == DEFLATED_FRAMES:
            self._properties = self._options
            try:
                inflater = zlib.decompressobj(-zlib.MAX_WBITS)
                return inflater.decompress(frame, self._frame_bytes)
            except zlib.error as error:
                raise Untranscodable("a frame cannot be inflated") from error
        # With its codecs, which take half a second to load: only who needs them waits for them.
        from pydicom.encaps import encapsulate  # noqa: PLC0415
        from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415
        from pydicom.uid import UID  # noqa: PLC0415

        try:
            decoder = get_decoder(UID(self._syntax))
        except NotImplementedError as error:
            raise Untranscodable("there is no decoder for its transfer syntax") from error
        require_agreement(frame, self._syntax, self._picture)
        options = self._options | {"number_of_frames": 1}
        try:
            found, self._properties = decoder.as_array(
                encapsulate([frame], has_bot=False), index=0, **options
            )
            return bytes(found.tobytes())
        except Exception as error:
            # Decoders raise whatever they stumble over.
            raise Untranscodable(f"a frame cannot be decoded: {type(error).__name__}") from error

    def _hold(self, raw: bytes) -> None:
        self._small = b""
        if len(raw) <= HELD_BYTES:
            self._small = raw
            return
        if self._room is None:
            held = TemporaryFile(buffering=0, dir=self._folder, suffix=PART)  # noqa: SIM115 - the stack closes it
            self._room = self._kept.enter_context(held)
        self._room.seek(0)
        self._room.write(raw)


def _options(facts: Facts) -> dict[str, Any]:
    """Return the image pixel module as pydicom's decoders take it."""
    values = facts.values
    numbers = {
        "rows": facts.number(ROWS),
        "columns": facts.number(COLUMNS),
        "samples_per_pixel": facts.number(SAMPLES_PER_PIXEL) or 1,
        "bits_allocated": facts.number(BITS_ALLOCATED),
        "bits_stored": facts.number(BITS_STORED) or facts.number(BITS_ALLOCATED),
        "pixel_representation": facts.number(PIXEL_REPRESENTATION) or 0,
        "planar_configuration": facts.number(PLANAR_CONFIGURATION) or 0,
    }
    if not (numbers["rows"] and numbers["columns"] and numbers["bits_allocated"]):
        raise Untranscodable("the pixel data have no rows, columns or bits")
    photometric = _text(values, PHOTOMETRIC_INTERPRETATION) or b"MONOCHROME2"
    return numbers | {
        "number_of_frames": max(1, _frame_count(values)),
        "photometric_interpretation": photometric.decode("ascii", "replace"),
    }


def _text(values: dict[int, bytes], tag: int) -> bytes:
    return values.get(tag, b"").strip(b" \0")


def _frame_count(values: dict[int, bytes]) -> int:
    text = _text(values, NUMBER_OF_FRAMES)
    return int(text) if text.isdigit() else 1


def _frame_bytes(options: dict[str, Any], longest: int) -> int:
    samples = options["rows"] * options["columns"] * options["samples_per_pixel"]
    bits = samples * options["bits_allocated"]
    if options["number_of_frames"] > 1 and bits % BYTE_BITS:
        raise Untranscodable("frames of single bits do not end with a byte")
    size = (bits + BYTE_BITS - 1) // BYTE_BITS
    if size > longest:
        raise Untranscodable(f"a decoded frame is longer than {longest} bytes")
    return int(size)
