"""What a frame's code stream says is held against the object before anything is decoded.

Streams are those of pydicom's test files, with other sizes written into them or into the object.
"""

import struct

import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE
from draw_shared.dicom.transcoding import codestreams
from draw_shared.dicom.transcoding.codestreams import CodestreamSize, require_agreement
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits
from draw_shared.dicom.transcoding.source import Untranscodable
from draw_shared.dicom.transcoding.transcoder import Transcoder
from support import senders

FILES = {
    "JPEG baseline": "SC_rgb_small_odd_jpeg.dcm",
    "JPEG lossless": "SC_rgb_jpeg_gdcm.dcm",
    "JPEG-LS": "MR_small_jpeg_ls_lossless.dcm",
    "JPEG 2000": "MR_small_jp2klossless.dcm",
    "RLE": "MR_small_RLE.dcm",
}
START_OF_FRAME = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7")
RLE = codestreams.RLE_LOSSLESS
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HUGE = 65_500


def _frame(held):
    return next(generate_frames(held.PixelData, number_of_frames=1))


def _picture(held):
    return CodestreamSize(held.Rows, held.Columns, held.SamplesPerPixel, held.BitsAllocated)


def _huge(frame):
    """Return a code stream that says that its picture has more rows and columns."""
    if frame.startswith(codestreams.JPEG_2000_START):
        return frame[:8] + struct.pack(">2I", HUGE, HUGE) + frame[16:]
    at = min(place for mark in START_OF_FRAME if (place := frame.find(mark)) > 0)
    return frame[: at + 5] + struct.pack(">2H", HUGE, HUGE) + frame[at + 9 :]


@pytest.fixture(params=FILES.values(), ids=FILES)
def held(request):
    return senders.read(get_testdata_file(request.param))


@pytest.fixture
def refused(tmp_path):
    def reason(made):
        path = tmp_path / "object.dcm"
        made.save_as(path)
        with pytest.raises(Untranscodable) as refusal:
            list(Transcoder(Decoder(DecodingLimits(), tmp_path)).chunks(path, EXPLICIT_LITTLE))
        return str(refusal.value)

    return reason


def test_what_agrees_passes(held):
    require_agreement(_frame(held), held.file_meta.TransferSyntaxUID, _picture(held))


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "SamplesPerPixel"])
def test_another_picture_than_the_object_says_is_none(held, refused, keyword):
    # RLE does not say rows and columns; their product is what its segments hold.
    setattr(held, keyword, held[keyword].value + 1)
    assert refused(held).startswith("a frame")


def test_exchanged_rows_and_columns_are_noticed(refused):
    # As many bytes when decoded, and another picture.
    held = senders.read(get_testdata_file("693_J2KI.dcm"))
    assert held.Rows * held.Columns
    held.Rows, held.Columns = 2 * held.Rows, held.Columns // 2
    assert "rows" in refused(held)


@pytest.mark.parametrize("name", [name for name in FILES if name != "RLE"])
def test_a_picture_of_gigabytes_is_not_begun(refused, name):
    held = senders.read(get_testdata_file(FILES[name]))
    held.PixelData = encapsulate([_huge(_frame(held))])
    held["PixelData"].is_undefined_length = True
    assert f"{HUGE} rows, {HUGE} columns" in refused(held)


def test_more_bits_than_the_object_allocates_are_refused():
    held = senders.read(get_testdata_file(FILES["JPEG-LS"]))
    with pytest.raises(Untranscodable, match="allocates 8"):
        require_agreement(
            _frame(held), held.file_meta.TransferSyntaxUID, _picture(held)._replace(bits=8)
        )


def test_rows_that_come_behind_the_scan_are_found():
    held = senders.read(get_testdata_file(FILES["JPEG baseline"]))
    frame = _frame(held)
    at = frame.find(b"\xff\xc0")
    without = frame[: at + 5] + b"\0\0" + frame[at + 7 :]
    lines = codestreams.NUMBER_OF_LINES + struct.pack(">H", held.Rows)
    syntax = held.file_meta.TransferSyntaxUID
    require_agreement(without + lines, syntax, _picture(held))
    with pytest.raises(Untranscodable, match="0 rows"):
        require_agreement(without, syntax, _picture(held))


def test_a_jp2_file_around_a_code_stream_is_read():
    held = senders.read(get_testdata_file(FILES["JPEG 2000"]))
    frame = _frame(held)
    box = struct.pack(">I4s", 8 + len(frame), b"jp2c") + frame
    long_box = struct.pack(">I4sQ", 1, b"jp2c", 16 + len(frame)) + frame
    for one in (box, long_box):
        whole = codestreams.JP2_SIGNATURE + b"\r\n\x87\n" + one
        require_agreement(whole, JPEG_2000, _picture(held))
        with pytest.raises(Untranscodable, match="rows"):
            require_agreement(whole, JPEG_2000, CodestreamSize(1, 1, 1, 16))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "no code stream"),
        (b"\x89PNG\r\n", "no code stream"),
        (b"\xff\xd8\xff\xd9", "does not say its size"),
        (b"\xff\xd8\xff\xe0\x00\x04ab", "cut short"),
        (b"\xff\x4f\xff\x51\x00", "cut short"),
        (codestreams.JP2_SIGNATURE + b"\r\n\x87\n" + b"\0\0\0\0free", "no code stream"),
        (codestreams.JP2_SIGNATURE + b"\r\n\x87\n" + b"\0\0\0\x09jp2ca", "does not say"),
    ],
)
def test_what_is_no_code_stream_has_a_reason(frame, reason):
    with pytest.raises(Untranscodable, match=reason):
        require_agreement(frame, JPEG_2000, CodestreamSize(1, 1, 1, 8))


# --- RLE -------------------------------------------------------------------------------


def _rle(*segments, offsets=None):
    places, at = [], 64
    for segment in segments:
        places.append(at)
        at += len(segment)
    places = offsets or places
    header = struct.pack("<16I", len(segments), *places, *[0] * (15 - len(places)))
    return header + b"".join(segments)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\1\0\0\0", "cut short"),
        (_rle(b"\0a"), "1 RLE segments instead of 2"),
        (_rle(b"\0a", b"\0b", offsets=[66, 64]), "follow each other"),
        (_rle(b"\0a", b"\0b", offsets=[64, 4096]), "follow each other"),
        (_rle(b"\0a", b"\0b", offsets=[4, 66]), "follow each other"),
    ],
)
def test_segments_that_are_none_have_a_reason(frame, reason):
    with pytest.raises(Untranscodable, match=reason):
        require_agreement(frame, RLE, CodestreamSize(1, 1, 1, 16))


def test_a_segment_that_becomes_larger_than_the_image_is_not_decoded():
    image = CodestreamSize(4096, 4096, 1, 8)
    enough = 4096 * 4096 // 128
    require_agreement(_rle(b"\x81a" * enough), RLE, image)
    require_agreement(_rle((b"\x7f" + bytes(128)) * enough + b"\x80"), RLE, image)
    with pytest.raises(Untranscodable, match="more than the image has"):
        require_agreement(_rle(b"\x81a" * (2 * 1024 * 1024)), RLE, image)
