"""Reads from the code stream of an encapsulated frame what it will decode to.

A decoder allocates what the stream states, regardless of the object around it; and a stream with
rows and columns exchanged decodes to the expected number of bytes.
"""

from collections.abc import Iterator
from itertools import pairwise
from struct import error, unpack_from
from typing import Final, NamedTuple

from draw_shared.dicom.transcoding.source import Untranscodable
from draw_shared.wording import message

RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"

JPEG_START: Final = b"\xff\xd8"
FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""SOF0 to SOF15 of JPEG (ISO/IEC 10918-1 B.1.1.3), SOF55 of JPEG-LS (ISO/IEC 14495-1)."""
WITHOUT_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))
LAST_MARKERS: Final = frozenset((0xD9, 0xDA))
"""End of image, start of scan: no header follows."""
NUMBER_OF_LINES: Final = b"\xff\xdc\x00\x04"
"""States the number of rows after the first scan, if the header does not."""

JPEG_2000_START: Final = b"\xff\x4f\xff\x51"
JP2_SIGNATURE: Final = b"\0\0\0\x0cjP  "
CODE_STREAM_BOX: Final = b"jp2c"
MAX_BOXES: Final = 64

RLE_HEADER_BYTES: Final = 64
MAX_SEGMENTS: Final = 15
MAX_GROWTH: Final = 64
"""Largest growth of a byte in RLE: two bytes become 128."""
SMALL_BYTES: Final = 64 * 1024 * 1024
"""RLE segments that decode to no more than this are not checked run by run."""
MAX_PADDING_BYTES: Final = 1024 * 1024
BYTE_BITS: Final = 8


class CodestreamSize(NamedTuple):
    """The size of one frame."""

    rows: int
    columns: int
    samples: int
    """Samples per pixel."""
    bits: int
    """Bits per sample: allocated by the object, or stored in the stream."""


def require_agreement(frame: bytes, transfer_syntax_uid: str, image: CodestreamSize) -> None:
    """Return if a frame's code stream agrees with the object.

    Raises:
        Untranscodable: it contains another picture, or an unknown one.
    """
    if transfer_syntax_uid == RLE_LOSSLESS:
        _require_segments(frame, image)
        return
    try:
        said = _said(frame)
    except (error, IndexError) as cut:
        raise Untranscodable(message("a frame's code stream is cut short")) from cut
    if said[:3] != image[:3]:
        raise Untranscodable(
            message(
                "a frame's code stream has %(said)s, the object says %(image)s",
                said=_words(said),
                image=_words(image),
            )
        )
    if said.bits > image.bits:
        raise Untranscodable(
            message(
                "a frame's code stream has samples of %(bits)s bits, the object "
                "allocates %(bits_2)s",
                bits=said.bits,
                bits_2=image.bits,
            )
        )


def _words(picture: CodestreamSize) -> str:
    return message(
        "%(rows)s rows, %(columns)s columns, %(samples)s samples",
        rows=picture.rows,
        columns=picture.columns,
        samples=picture.samples,
    )


def _said(frame: bytes) -> CodestreamSize:
    if frame.startswith(JPEG_START):
        return _jpeg(frame)
    if frame.startswith(JP2_SIGNATURE):
        return _jpeg_2000(frame, _code_stream(frame))
    if frame.startswith(JPEG_2000_START):
        return _jpeg_2000(frame, 0)
    raise Untranscodable(message("a frame is no code stream of its transfer syntax"))


def _jpeg(frame: bytes) -> CodestreamSize:
    at = len(JPEG_START)
    while frame[at] == 0xFF and frame[at + 1] not in LAST_MARKERS:  # noqa: PLR2004 - a marker
        marker = frame[at + 1]
        if marker in FRAME_HEADERS:
            bits, rows, columns, samples = unpack_from(">BHHB", frame, at + 4)
            return CodestreamSize(rows or _lines(frame, at), columns, samples, bits)
        if marker == 0xFF:  # noqa: PLR2004 - fills up
            at += 1
        elif marker in WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + unpack_from(">H", frame, at + 2)[0]
    raise Untranscodable(message("a frame's code stream does not say its size"))


def _lines(frame: bytes, at: int) -> int:
    place = frame.find(NUMBER_OF_LINES, at)
    return unpack_from(">H", frame, place + len(NUMBER_OF_LINES))[0] if place >= 0 else 0


def _code_stream(frame: bytes) -> int:
    """Return the position of the code stream in a JP2 file (ISO/IEC 15444-1 I.4)."""
    at = 0
    for _ in range(MAX_BOXES):
        size, kind = unpack_from(">I4s", frame, at)
        header = 8
        if size == 1:
            (size,) = unpack_from(">Q", frame, at + 8)
            header = 16
        if kind == CODE_STREAM_BOX:
            return at + header
        if size < header:
            break
        at += size
    raise Untranscodable(message("a frame's JP2 file holds no code stream"))


def _jpeg_2000(frame: bytes, at: int) -> CodestreamSize:
    """Parse the stream's size segment (ISO/IEC 15444-1 A.5.1)."""
    if frame[at : at + len(JPEG_2000_START)] != JPEG_2000_START:
        raise Untranscodable(message("a frame's code stream does not say its size"))
    right, bottom, left, top = unpack_from(">4I", frame, at + 8)
    (samples,) = unpack_from(">H", frame, at + 40)
    deep = frame[at + 42 : at + 42 + 3 * samples : 3]
    bits = max((1 + (one & 0x7F) for one in deep), default=0)
    return CodestreamSize(bottom - top, right - left, samples, bits)


# --- RLE (PS3.5 G) -----------------------------------------------------------------------


def _require_segments(frame: bytes, image: CodestreamSize) -> None:
    if len(frame) < RLE_HEADER_BYTES:
        raise Untranscodable(message("a frame's RLE header is cut short"))
    count, *offsets = unpack_from("<16I", frame)
    wanted = image.samples * ((image.bits + BYTE_BITS - 1) // BYTE_BITS)
    if count != wanted:
        raise Untranscodable(
            message(
                "a frame has %(count)s RLE segments instead of %(wanted)s",
                count=count,
                wanted=wanted,
            )
        )
    if count > MAX_SEGMENTS:
        raise Untranscodable(
            message(
                "a frame of RLE has no more than %(max_segments)s segments",
                max_segments=MAX_SEGMENTS,
            )
        )
    begins = [*offsets[:count], len(frame)]
    if begins[0] < RLE_HEADER_BYTES or any(a > b for a, b in pairwise(begins)):
        raise Untranscodable(message("the segments of a frame of RLE do not follow each other"))
    most = image.rows * image.columns + MAX_PADDING_BYTES
    for begin, stop in pairwise(begins):
        if (stop - begin) * MAX_GROWTH > SMALL_BYTES and _is_longer(frame, begin, stop, most):
            raise Untranscodable(message("an RLE segment of a frame holds more than the image has"))


def _is_longer(frame: bytes, begin: int, stop: int, most: int) -> bool:
    """Return whether a segment decodes to more bytes than allowed."""
    size = 0
    for run in _runs(frame, begin, stop):
        size += run
        if size > most:
            return True
    return False


def _runs(frame: bytes, at: int, stop: int) -> Iterator[int]:
    """Yield the length of each run (PS3.5 G.3.2)."""
    while at < stop:
        word = frame[at]
        if word < 0x80:  # noqa: PLR2004 - literally the next ones
            yield word + 1
            at += word + 2
        elif word > 0x80:  # noqa: PLR2004 - the next one, repeated
            yield 257 - word
            at += 2
        else:
            at += 1
