"""Frames of native and encapsulated pixel data, with right, wrong and missing offset tables."""

import os
import struct
import time
import tracemalloc
import warnings

import pydicom
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended

from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE, EXPLICIT_BIG, EXPLICIT_LITTLE
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.web.frame_tables import (
    FrameExtent,
    FrameNotThere,
    FrameTable,
    make_frame_table,
)
from draw_shared.dicom.web.json_model import read_metadata
from draw_shared.dicom.web.opened_file import OpenedFile
from support.elements import SECONDARY_CAPTURE, element, encapsulated, item, write

JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
PIXEL_DATA = 0x7FE00010
GIB = 1024**3
END = b"\xff\xd9"


def number(value):
    return struct.pack("<H", value)


def image(frames, rows=2, columns=3, bits=16, *, syntax=EXPLICIT_LITTLE, samples=1, colours=""):
    """Return the elements that describe an image, in front of its pixel data."""
    parts = [element(0x00280002, "US", number(samples), syntax)]
    if colours:
        parts.append(element(0x00280004, "CS", colours, syntax))
    if frames is not None:
        text = str(frames)
        parts.append(element(0x00280008, "IS", text.ljust(len(text) + len(text) % 2), syntax))
    parts += [
        element(0x00280010, "US", number(rows), syntax),
        element(0x00280011, "US", number(columns), syntax),
        element(0x00280100, "US", number(bits), syntax),
    ]
    return b"".join(parts)


@pytest.fixture
def table(tmp_path):
    """Return a function that returns the frames of a data set, and their table."""

    def make(body, syntax=EXPLICIT_LITTLE):
        descriptor = os.open(write(tmp_path / "one.dcm", body, syntax), os.O_RDONLY)
        try:
            metadata = read_metadata(descriptor, str)
            stored = OpenedFile.open(descriptor)
            made = make_frame_table(metadata.image, stored.read)
            kept = FrameTable.decode(made.encode())
            frames = [kept.read(n, stored.read) for n in range(1, made.frames + 1)]
            assert [kept.length_of(n) for n in range(1, made.frames + 1)] == [*map(len, frames)]
            assert [made.extents(n) for n in range(1, made.frames + 1)] == [
                kept.extents(n) for n in range(1, made.frames + 1)
            ]
        finally:
            os.close(descriptor)
        return frames, kept

    return make


def offsets(*values):
    return struct.pack(f"<{len(values)}I", *values)


# --- native ------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE])
def test_native_frames(table, syntax):
    plain = EXPLICIT_LITTLE if syntax == DEFLATED_LITTLE else syntax
    pixels = bytes(range(36))
    body = image(3, syntax=plain) + element(PIXEL_DATA, "OB", pixels, plain)
    frames, kept = table(body, syntax)
    assert frames == [pixels[:12], pixels[12:24], pixels[24:]]
    assert (kept.aligned, kept.encapsulated) == (True, False)
    assert kept.inflated == (syntax == DEFLATED_LITTLE)
    assert kept.big == (syntax == EXPLICIT_BIG)


@pytest.mark.parametrize(
    ("tag", "vr", "size"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8), (PIXEL_DATA, "OW", 2)]
)
def test_frames_of_every_pixel_element(table, tag, vr, size):
    pixels = bytes(range(12 * size))
    frames, _ = table(image(2) + element(tag, vr, pixels))
    assert frames == [pixels[: 6 * size], pixels[6 * size :]]


def test_single_bits_that_do_not_end_with_a_byte(table):
    # Frames of 15 bits; the first is in the lowest ones.
    bits = int("0" * 15 + "1" * 15 + "01" * 7 + "1", 2)
    frames, kept = table(
        image(3, rows=3, columns=5, bits=1) + element(PIXEL_DATA, "OB", bits.to_bytes(6, "little"))
    )
    assert not kept.aligned
    assert frames == [b"\xab\x2a", b"\xff\x7f", b"\0\0"]
    assert kept.extents(2) == (FrameExtent(kept.position + 1, 3),)


def test_single_bits_that_end_with_a_byte(table):
    frames, kept = table(image(2, 4, 4, 1) + element(PIXEL_DATA, "OB", b"\1\2\3\4"))
    assert kept.aligned
    assert frames == [b"\1\2", b"\3\4"]


def test_subsampled_colours_have_two_samples(table):
    pixels = bytes(range(16))
    body = image(2, 2, 2, 8, samples=3, colours="YBR_FULL_422") + element(PIXEL_DATA, "OB", pixels)
    assert table(body)[0] == [pixels[:8], pixels[8:]]


@pytest.mark.parametrize(
    ("described", "pixels"),
    [
        (image(4), bytes(36)),
        (image("x"), bytes(36)),
        (image(-1), bytes(36)),
        (image(10**9), bytes(36)),
        (image(1, rows=0), bytes(36)),
        (image(1), b""),
        (b"", bytes(36)),
    ],
)
def test_native_pixels_that_cannot_be_are_refused(table, described, pixels):
    with pytest.raises(Undecodable):
        table(described + element(PIXEL_DATA, "OW", pixels))


def test_object_without_pixels_has_no_frames(table):
    with pytest.raises(Undecodable, match="no frames"):
        table(image(1))


@pytest.mark.parametrize("wrong", [0, -1, 4, 10**9])
def test_frames_that_are_not_there(table, wrong):
    for _, kept in (
        table(image(3) + element(PIXEL_DATA, "OW", bytes(36))),
        table(image(3) + encapsulated([b"ab"] * 3), JPEG),
    ):
        with pytest.raises(FrameNotThere):
            kept.extents(wrong)
        with pytest.raises(FrameNotThere):
            kept.length_of(wrong)


def test_file_that_was_shortened_is_told(table, tmp_path):
    _, kept = table(image(3) + element(PIXEL_DATA, "OW", bytes(36)))
    path = tmp_path / "one.dcm"
    os.truncate(path, path.stat().st_size - 1)
    with path.open("rb") as file, pytest.raises(Undecodable):
        kept.read(3, lambda position, size: os.pread(file.fileno(), size, position))


# --- encapsulated ------------------------------------------------------------------------


def test_one_fragment_for_each_frame(table):
    frames, kept = table(image(3) + encapsulated([b"abcd", b"ef", b"ghijkl"]), JPEG)
    assert frames == [b"abcd", b"ef", b"ghijkl"]
    assert kept.encapsulated
    assert len(kept.encode()) < 40


@pytest.mark.parametrize("said", [None, 1, 0, "+1"])
def test_all_fragments_for_the_only_frame(table, said):
    frames, kept = table(image(said) + encapsulated([b"abcd", b"ef"]), JPEG)
    assert frames == [b"abcdef"]
    assert len(kept.extents(1)) == 2


@pytest.mark.parametrize("said", [2, None])
def test_basic_offset_table(table, said):
    parts = [b"abcd", b"ef", b"ghij"]
    body = image(said) + encapsulated(parts, table=offsets(0, 12 + 10))
    assert table(body, JPEG)[0] == [b"abcdef", b"ghij"]


def test_what_pydicom_encapsulates(table):
    parts = [bytes((n,)) * (10 + 2 * n) for n in range(5)]
    value = encapsulate(parts, fragments_per_frame=3)
    body = image(5) + element(PIXEL_DATA, "OB", b"", length=0xFFFFFFFF) + value
    body += b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert table(body, RLE)[0] == parts


def test_extended_offset_table_says_lengths_without_padding(table):
    parts = [b"abc", b"de", b"fghij"]
    value, starts, _ = encapsulate_extended(parts)
    lengths = struct.pack("<3Q", *map(len, parts))
    body = (
        image(3)
        + element(0x7FE00001, "OV", starts)
        + element(0x7FE00002, "OV", lengths)
        + element(PIXEL_DATA, "OB", b"", length=0xFFFFFFFF)
        + value
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )
    assert table(body, JPEG)[0] == parts


@pytest.mark.parametrize(
    ("starts", "lengths"),
    [
        ((0, 12, 25), (4, 2, 4)),
        ((0, 12, 22), (4, 2, 5)),
        ((0, 12, 22), (4, 0, 4)),
        ((0, 12), (4, 2)),
        ((0, 2**63, 22), (4, 2, 4)),
        ((0, 12, 22), (4, 2)),
        ((22, 12, 0), (4, 2, 4)),
    ],
)
def test_lying_extended_offset_table_is_not_believed(table, starts, lengths):
    body = (
        image(3)
        + element(0x7FE00001, "OV", struct.pack(f"<{len(starts)}Q", *starts))
        + element(0x7FE00002, "OV", struct.pack(f"<{len(lengths)}Q", *lengths))
        + encapsulated([b"abcd", b"ef", b"ghij"])
    )
    assert table(body, JPEG)[0] == [b"abcd", b"ef", b"ghij"]


@pytest.mark.parametrize(
    "lie",
    [
        offsets(0, 13),
        offsets(22, 0),
        offsets(0, 0),
        offsets(12, 22),
        offsets(0, 0xFFFFFFFF),
        offsets(0),
        offsets(0, 12, 22),
        b"\0\0\0\0\x0c\0",
    ],
)
def test_lying_basic_offset_table_is_not_believed(table, lie):
    # The code streams say where the frames begin.
    parts = [b"\xff\xd8ab", b"cd" + END, b"\xff\xd8" + END]
    assert table(image(2) + encapsulated(parts, table=lie), JPEG)[0] == [
        b"".join(parts[:2]),
        parts[2],
    ]


def test_code_streams_say_where_frames_end(table):
    parts = [b"ab", b"cd" + END + b"\0\0", b"ef" + END, b"gh", b"ij", b"kl" + END]
    frames, _ = table(image(3) + encapsulated(parts), JPEG)
    assert frames == [b"".join(parts[:2]), parts[2], b"".join(parts[3:])]


def test_code_streams_say_where_frames_begin(table):
    # An end within the last bytes of a fragment that is no end.
    start = b"\xff\x4f\xff\x51"
    parts = [start + b"ab", b"c" + END + b"defghi", b"k" + END, start + b"yz"]
    frames, _ = table(image(2) + encapsulated(parts), "1.2.840.10008.1.2.4.90")
    assert frames == [b"".join(parts[:3]), parts[3]]


@pytest.mark.parametrize(
    ("count", "parts", "syntax"),
    [
        (3, [b"ab", b"cd"], JPEG),
        (2, [b"ab", b"cd", b"ef"], JPEG),
        (2, [b"ab", b"c" + END + b"\0", b"ef" + END + b"ab"], RLE),
        (3, [b"ab" + END, b"cd" + END, b"ef", b"gh"], JPEG),
        (1, [], JPEG),
    ],
)
def test_frames_that_nothing_tells_apart_are_refused(table, count, parts, syntax):
    with pytest.raises(Undecodable):
        table(image(count) + encapsulated(parts), syntax)


def test_fragments_with_something_between_them(table):
    stray = b"\xfe\xff\x0d\xe0\0\0\0\0"
    value = item(b"") + item(b"abcd") + stray + item(b"ef")
    body = image(2) + element(PIXEL_DATA, "OB", b"", length=0xFFFFFFFF)
    body += value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert table(body, JPEG)[0] == [b"abcd", b"ef"]


# --- kept tables -------------------------------------------------------------------------


def test_damaged_tables_are_refused():
    whole = FrameTable(2, positions=[100, 112, 130], lengths=[4, 10, 6], begins=[0, 2, 3]).encode()
    native = FrameTable(3, 100, 96).encode()
    for raw in (whole, native):
        FrameTable.decode(raw)
        for cut in range(len(raw)):
            with pytest.raises(Undecodable):
                FrameTable.decode(raw[:cut])
        for wrong in (raw + b"\0", b"\x09" + raw[1:], b""):
            with pytest.raises(Undecodable):
                FrameTable.decode(wrong)
    huge = struct.pack("<BBIQI", 2, 0, 3, 0, 0xFFFFFFFF)
    with pytest.raises(Undecodable):
        FrameTable.decode(huge)


def test_frame_of_four_gigabytes_needs_one_read(tmp_path):
    path = tmp_path / "long.dcm"
    frames, size = 4000, 1024 * 1024
    head = FileMeta(SECONDARY_CAPTURE, "1.2.3.4", JPEG).encode() + image(frames)
    with path.open("wb") as file:
        file.write(head + element(PIXEL_DATA, "OB", b"", length=0xFFFFFFFF) + item(b""))
        for n in range(frames):
            file.write(struct.pack("<HHI", 0xFFFE, 0xE000, size) + struct.pack("<I", n))
            file.seek(size - 4, os.SEEK_CUR)
        file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
    descriptor = os.open(path, os.O_RDONLY)
    reads = []

    def read(position, length):
        reads.append(length)
        return os.pread(descriptor, length, position)

    try:
        tracemalloc.start()
        metadata = read_metadata(descriptor, str)
        raw = make_frame_table(metadata.image, read).encode()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert reads == []
        assert peak < 4 * 1024 * 1024
        assert len(raw) < 4 * frames + 64
        begin = time.process_time()
        frame = FrameTable.decode(raw).read(3999, read)
        assert time.process_time() - begin < 0.02
    finally:
        os.close(descriptor)
    assert reads == [size]
    assert frame[:4] == struct.pack("<I", 3998)


def test_pydicom_reads_what_these_tests_write(tmp_path):
    # Otherwise tables could fit files that nobody else can read.
    path = write(tmp_path / "one.dcm", image(3) + encapsulated([b"abcd", b"ef", b"gh"]), JPEG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = pydicom.dcmread(path)
        fragments = list(pydicom.encaps.generate_frames(held.PixelData, number_of_frames=3))
    assert fragments == [b"abcd", b"ef", b"gh"]
