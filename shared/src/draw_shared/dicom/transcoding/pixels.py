"""Decodes encapsulated pixel data to native pixel data, frame by frame (PS3.5 8.2, A.4).

Before anything is decoded, the declarations are checked: the size and number of frames, and what
the frame's own code stream states.
"""

import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from draw_shared.dicom.transcoding.codestreams import CodestreamSize, require_agreement
from draw_shared.dicom.transcoding.encoding import ElementEncoding
from draw_shared.dicom.transcoding.source import Untranscodable
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
from draw_shared.wording import message

ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
MAX_VALUE_BYTES: Final = 0xFFFFFFFE
END_OF_IMAGE: Final = b"\xff\xd9"
END_BYTES: Final = 10
"""Largest distance between the end of an image and the end of its fragment."""
BYTE_BITS: Final = 8
OFFSET_BYTES: Final = 4
MAX_TABLE_BYTES: Final = 4 * 1024 * 1024
"""Largest basic offset table, bytes."""
MAX_FRAGMENTS: Final = 100_000
"""Largest number of fragments of one frame."""


@dataclass(frozen=True, slots=True)
class Image:
    """How the frames of encapsulated pixel data are encoded, and their decoded length."""

    transfer_syntax_uid: str
    options: dict[str, Any]
    """The image pixel module, as pydicom's decoders expect it."""
    frame_bytes: int
    """Length of a decoded frame."""

    @classmethod
    def of(cls, facts: Facts, transfer_syntax_uid: str, longest_frame: int) -> "Image":
        """Read the description of pixel data from the facts about a data set.

        Raises:
            Untranscodable: it is incomplete, or a decoded frame would be too long.
        """
        options = _options(facts)
        return cls(transfer_syntax_uid, options, _frame_bytes(options, longest_frame))

    def decode(self, frame: bytes) -> tuple[bytes, str]:
        """Return a decoded frame and its photometric interpretation.

        Raises:
            Untranscodable: it cannot be decoded, or differs from its description.
        """
        raw, photometric = self._decode(frame)
        if len(raw) != self.frame_bytes:
            raise Untranscodable(message("a frame has another size than the image"))
        return raw, photometric

    def _decode(self, frame: bytes) -> tuple[bytes, str]:
        as_said = str(self.options["photometric_interpretation"])
        if self.transfer_syntax_uid == ENCAPSULATED_UNCOMPRESSED:
            return frame[: self.frame_bytes], as_said
        if self.transfer_syntax_uid == DEFLATED_FRAMES:
            try:
                inflater = zlib.decompressobj(-zlib.MAX_WBITS)
                return inflater.decompress(frame, self.frame_bytes), as_said
            except zlib.error as error:
                raise Untranscodable(message("a frame cannot be inflated")) from error
        # It loads codecs, which takes half a second: only processes that need them wait for that.
        from pydicom.encaps import encapsulate  # noqa: PLC0415
        from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415
        from pydicom.uid import UID  # noqa: PLC0415

        try:
            decoder = get_decoder(UID(self.transfer_syntax_uid))
        except NotImplementedError as error:
            raise Untranscodable(message("there is no decoder for its transfer syntax")) from error
        require_agreement(frame, self.transfer_syntax_uid, self._picture)
        options = self.options | {"number_of_frames": 1}
        try:
            found, properties = decoder.as_array(
                encapsulate([frame], has_bot=False), index=0, **options
            )
            return bytes(found.tobytes()), str(properties["photometric_interpretation"])
        except MemoryError:
            raise
        except Exception as error:
            # Decoders raise exceptions of any type.
            raise Untranscodable(
                message("a frame cannot be decoded: %(error)s", error=type(error).__name__)
            ) from error

    @property
    def _picture(self) -> CodestreamSize:
        said = self.options
        return CodestreamSize(
            said["rows"], said["columns"], said["samples_per_pixel"], said["bits_allocated"]
        )


class EncapsulatedPixels:
    """The frames of one data set's pixel data, the first of them decoded.

    Args:
        facts: the facts about the data set.
        transfer_syntax_uid: of the object.
        longest_frame: largest length of a frame, encoded or decoded, bytes.
        read: returns bytes of the data set by position and length.

    Raises:
        Untranscodable: the first frame cannot be decoded, or all together are too long.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        facts: Facts,
        transfer_syntax_uid: str,
        longest_frame: int,
        read: Callable[[int, int], bytes],
    ) -> None:
        if facts.pixels is None:
            raise Untranscodable(message("there are no encapsulated pixel data"))
        self._facts = facts
        self._read = read
        self.fragments = facts.pixels
        self.image = Image.of(facts, transfer_syntax_uid, longest_frame)
        self.begins = self._frames()
        """Index of the first fragment of each frame, and the number of fragments at the end."""
        self.length = self.image.frame_bytes * (len(self.begins) - 1)
        """Length of all decoded frames, bytes, without padding to even length."""
        if self.length > MAX_VALUE_BYTES:
            raise Untranscodable(
                message("the decoded pixel data would be longer than a value may be")
            )
        self.vr = b"OB" if self.image.options["bits_allocated"] <= BYTE_BITS else b"OW"
        begin, end = self.begins[:2]
        frame = gather_frame(
            self.fragments.positions[begin:end],
            self.fragments.lengths[begin:end],
            longest_frame,
            read,
        )
        self.first, self._photometric = self.image.decode(frame)

    def changes(self, encoding: ElementEncoding) -> dict[int, tuple[bytes, bytes]]:
        """Return (VR, value) of the elements that change with the decoded pixel data."""
        values = self._facts.values
        found: dict[int, tuple[bytes, bytes]] = {}
        photometric = self._photometric.encode()
        if photometric != _text(values, PHOTOMETRIC_INTERPRETATION):
            padded = photometric + b" " * (len(photometric) % 2)
            found[PHOTOMETRIC_INTERPRETATION] = b"CS", padded
        if self.image.options["samples_per_pixel"] > 1:
            found[PLANAR_CONFIGURATION] = b"US", encoding.unsigned.pack(0)
        frames = len(self.begins) - 1
        if frames != _frame_count(values):
            text = str(frames).encode()
            found[NUMBER_OF_FRAMES] = b"IS", text + b" " * (len(text) % 2)
        return found

    def _frames(self) -> "array[int]":
        """Return which fragments belong to each frame (PS3.5 A.4)."""
        pixels = self.fragments
        fragments = len(pixels.lengths) - 1
        count = self.image.options["number_of_frames"]
        if fragments < 1:
            raise Untranscodable(message("there are no frames"))
        offsets = self._offsets(pixels)
        if fragments == count:
            return array("Q", range(1, fragments + 2))
        begins = [1]
        if offsets:
            first = pixels.positions[1]
            starts = set(offsets)
            begins += [n for n in range(2, fragments + 1) if pixels.positions[n] - first in starts]
        elif fragments > count > 1:
            begins += [n + 1 for n in range(1, fragments) if self._ends_image(n)]
        elif fragments < count:
            raise Untranscodable(message("there are fewer fragments than frames"))
        if len(begins) < count:
            raise Untranscodable(message("there are fewer frames than there should be"))
        return array("Q", (*begins, fragments + 1))

    def _offsets(self, pixels: Fragments) -> tuple[int, ...]:
        size = pixels.lengths[0]
        if size > MAX_TABLE_BYTES:
            raise Untranscodable(message("the basic offset table is too long"))
        raw = self._read(pixels.positions[0], size)
        return tuple(
            int.from_bytes(raw[at : at + OFFSET_BYTES], "little")
            for at in range(0, size - size % OFFSET_BYTES, OFFSET_BYTES)
        )

    def _ends_image(self, fragment: int) -> bool:
        pixels = self.fragments
        size = min(END_BYTES, pixels.lengths[fragment])
        end = pixels.positions[fragment] + pixels.lengths[fragment]
        return END_OF_IMAGE in self._read(end - size, size)


def gather_frame(
    positions: "array[int]",
    lengths: "array[int]",
    longest_frame: int,
    read: Callable[[int, int], bytes],
) -> bytes:
    """Return the frame that consists of these fragments.

    Raises:
        Untranscodable: it is too long, or has too many fragments.
        OSError: the file cannot be read.
    """
    if len(lengths) > MAX_FRAGMENTS:
        raise Untranscodable(message("a frame is made up of too many fragments"))
    if sum(lengths) > longest_frame:
        raise Untranscodable(
            message("a frame is longer than %(longest_frame)s bytes", longest_frame=longest_frame)
        )
    return b"".join(map(read, positions, lengths))


def _options(facts: Facts) -> dict[str, Any]:
    """Return the image pixel module, as pydicom's decoders expect it."""
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
        raise Untranscodable(message("the pixel data have no rows, columns or bits"))
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
        raise Untranscodable(message("frames of single bits do not end with a byte"))
    size = (bits + BYTE_BITS - 1) // BYTE_BITS
    if size > longest:
        raise Untranscodable(
            message("a decoded frame is longer than %(longest)s bytes", longest=longest)
        )
    return int(size)
