"""Stored objects in other transfer syntaxes: the same values, the same pixels, or a reason.

That no value changes is shown in tests/property/test_transcoding.py. Not covered: codecs of
which pydicom has no test file.
"""

import struct
import subprocess
import tracemalloc
import warnings
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits
from draw_shared.dicom.transcoding.source import BLOCK_BYTES, Untranscodable
from draw_shared.dicom.transcoding.transcoder import Transcoder
from support import datasets
from support.data_set_tree import tree
from support.elements import (
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    element,
    encapsulated,
    item,
    mark,
    sequence,
    write,
)
from support.service_finder import program

TARGETS = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)
UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
FILES = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "JPEG2000.dcm",
    "JPEGLSNearLossless_16.dcm",
    "image_dfl.dcm",
    "rtplan.dcm",
)
SHORT = b"\1\0"
PIXELS = (
    element(0x00280002, "US", b"\1\0")
    + element(0x00280004, "CS", b"MONOCHROME2 ")
    + element(0x00280008, "IS", b"2 ")
    + element(0x00280010, "US", b"\2\0")
    + element(0x00280011, "US", b"\2\0")
    + element(0x00280100, "US", b"\x10\0")
    + element(0x00280101, "US", b"\x10\0")
    + element(0x00280103, "US", b"\0\0")
)
"""An image pixel module: two frames of 2 x 2 words."""


@pytest.fixture(autouse=True)
def quiet():
    # pydicom warns about what is odd in its own test files.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def transcoded(tmp_path):
    def made(path, syntax, longest_frame=2**27):
        return b"".join(
            Transcoder(Decoder(DecodingLimits(longest_frame), tmp_path)).chunks(path, syntax)
        )

    return made


def _read(raw, syntax):
    file = pydicom.filebase.DicomBytesIO(raw)
    target = UID(syntax)
    held = pydicom.filereader.read_dataset(file, target.is_implicit_VR, target.is_little_endian)
    held.file_meta = pydicom.dataset.FileMetaDataset()
    held.file_meta.TransferSyntaxUID = target
    return held


# --- pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("target", TARGETS)
def test_identity_and_pixels_stay(transcoded, name, target):
    path = get_testdata_file(name)
    before = pydicom.dcmread(path)
    after = _read(transcoded(path, target), target)
    assert after.SOPInstanceUID == before.SOPInstanceUID
    assert after.get("PatientName") == before.get("PatientName")
    if "PixelData" in before:
        assert np.array_equal(after.pixel_array, before.pixel_array)


def test_there_and_back_between_byte_orders(transcoded, tmp_path):
    made = datasets.build("CT", size_bytes=4000)
    path = datasets.write(made, tmp_path / "little.dcm")
    big = transcoded(path, EXPLICIT_BIG)
    assert np.array_equal(_read(big, EXPLICIT_BIG).pixel_array, made.pixel_array)
    write(tmp_path / "big.dcm", big, EXPLICIT_BIG)
    assert transcoded(tmp_path / "big.dcm", EXPLICIT_LITTLE) == datasets.encoded_data_set(path)


def test_words_of_other_word_have_16_bits(transcoded):
    # PS3.5 6.2, also where a pixel has 32 (as DCMTK's dcmconv does it).
    path = get_testdata_file("rtdose.dcm")
    before = pydicom.dcmread(path).PixelData
    big = _read(transcoded(path, EXPLICIT_BIG), EXPLICIT_BIG).PixelData
    assert np.array_equal(np.frombuffer(big, ">u2"), np.frombuffer(before, "<u2"))


def test_decoded_pixel_data_say_how_they_are(transcoded):
    # JPEG baseline in YBR_FULL_422 is decoded to RGB, colour by pixel.
    path = get_testdata_file("SC_rgb_small_odd_jpeg.dcm")
    after = _read(transcoded(path, IMPLICIT_LITTLE), IMPLICIT_LITTLE)
    assert after.PhotometricInterpretation == "RGB"
    assert after.PlanarConfiguration == 0
    assert len(after.PixelData) == 3 * 3 * 3 + 1


FRAMES = (b"\1\0\2\0\3\0\4\0", b"\5\0\6\0\7\0\10\0")


@pytest.mark.parametrize(
    ("fragments", "table"),
    [
        (FRAMES, b""),
        ((FRAMES[0][:4], FRAMES[0][4:], *FRAMES[1:]), struct.pack("<II", 0, 24)),
    ],
)
@pytest.mark.parametrize("target", TARGETS)
def test_frames_are_made_of_fragments(transcoded, tmp_path, fragments, table, target):
    body = PIXELS + encapsulated(fragments, table=table)
    path = write(tmp_path / "object.dcm", body, UNCOMPRESSED_FRAMES)
    found = tree(transcoded(path, target), target)
    assert found[(0x7FE00010,)][1] == b"".join(FRAMES)


def test_frames_end_with_their_images(transcoded, tmp_path):
    # Without a table, more fragments than frames: each JPEG frame ends with EOI.
    source = pydicom.dcmread(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm"))
    (frame,) = pydicom.encaps.generate_frames(source.PixelData, number_of_frames=1)
    half = len(frame) // 4 * 2
    parts = [frame[:half], frame[half:]] * 2
    source.PixelData = pydicom.encaps.encapsulate(parts, has_bot=False)
    source["PixelData"].is_undefined_length = True
    source.NumberOfFrames = 2
    source.save_as(tmp_path / "two.dcm")
    after = _read(transcoded(tmp_path / "two.dcm", EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    one = pydicom.dcmread(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")).pixel_array
    assert np.array_equal(after.pixel_array, np.stack([one, one]))


def test_an_encapsulated_icon_is_decoded_too(transcoded, tmp_path):
    icon = PIXELS.replace(b"2 ", b"1 ") + encapsulated(FRAMES[:1])
    tables = element(0x7FE00001, "OV", b"\0" * 16) + element(0x7FE00002, "OV", b"\0" * 16)
    body = PIXELS + sequence(0x00880200, [icon]) + tables + encapsulated(FRAMES)
    path = write(tmp_path / "object.dcm", body, UNCOMPRESSED_FRAMES)
    found = tree(transcoded(path, EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    assert found[(0x00880200, 0, 0x7FE00010)] == ("OW", FRAMES[0])
    assert found[(0x7FE00010,)] == ("OW", b"".join(FRAMES))
    # Nothing is encapsulated any more, so that there are no offsets.
    assert (0x7FE00001,) not in found
    assert (0x7FE00002,) not in found


def test_an_object_in_memory_is_a_block_and_a_frame(transcoded, tmp_path):
    frames, size = 20, 2 * 1024 * 1024
    rows = struct.pack("<H", 1024)
    many = PIXELS.replace(
        element(0x00280010, "US", b"\2\0") + element(0x00280011, "US", b"\2\0"),
        element(0x00280010, "US", rows) + element(0x00280011, "US", rows),
    ).replace(element(0x00280008, "IS", b"2 "), element(0x00280008, "IS", str(frames)))
    body = many + encapsulated([bytes(size)] * frames)
    path = write(tmp_path / "object.dcm", body, UNCOMPRESSED_FRAMES)
    plain = many + element(0x7FE00010, "OW", bytes(frames * size))
    native = write(tmp_path / "native.dcm", plain, EXPLICIT_LITTLE)
    transcoder = Transcoder(Decoder(DecodingLimits(), tmp_path))
    for one, target in ((path, IMPLICIT_LITTLE), (native, IMPLICIT_LITTLE), (native, EXPLICIT_BIG)):
        tracemalloc.start()
        chunks = list(map(len, transcoder.chunks(one, target)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(chunks) > frames * size
        assert max(chunks) < 2 * BLOCK_BYTES + 1024
        assert peak < 4 * size + 8 * BLOCK_BYTES


# --- what cannot be had ----------------------------------------------------------------


def test_damaged_pixels_are_no_answer(transcoded, tmp_path):
    held = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm"))
    held.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 not a codestream"])
    held["PixelData"].is_undefined_length = True
    held.save_as(tmp_path / "damaged.dcm")
    with pytest.raises(Untranscodable, match="cut short"):
        transcoded(tmp_path / "damaged.dcm", EXPLICIT_LITTLE)


def test_a_missing_file_is_said_to_be(transcoded, tmp_path):
    with pytest.raises(FileNotFoundError):
        transcoded(tmp_path / "none.dcm", EXPLICIT_LITTLE)


def test_a_later_frame_that_is_damaged_breaks_off_once(tmp_path):
    body = PIXELS + encapsulated([FRAMES[0], b"short "])
    path = write(tmp_path / "object.dcm", body, UNCOMPRESSED_FRAMES)
    transcoder = Transcoder(Decoder(DecodingLimits(), tmp_path))
    filler = element(0x00091001, "UT", bytes(2 * BLOCK_BYTES))
    write(path, element(0x00090010, "LO", b"DRAW") + filler + body, UNCOMPRESSED_FRAMES)
    chunks = transcoder.chunks(path, EXPLICIT_LITTLE)
    assert next(chunks)
    with pytest.raises(Untranscodable, match="another size"):
        list(chunks)
    # The next time it is known before anything is sent.
    with pytest.raises(Untranscodable, match="another size"):
        next(transcoder.chunks(path, EXPLICIT_LITTLE))


@pytest.mark.parametrize(
    ("syntax", "body", "reason"),
    [
        (UNCOMPRESSED_FRAMES, PIXELS + encapsulated(FRAMES[:1]), "fewer fragments than frames"),
        (UNCOMPRESSED_FRAMES, encapsulated(FRAMES), "no rows"),
        (UNCOMPRESSED_FRAMES, PIXELS + encapsulated([]), "no frames"),
        (EXPLICIT_LITTLE, PIXELS + encapsulated(FRAMES), "transfer syntax without"),
        (
            UNCOMPRESSED_FRAMES,
            PIXELS + element(0x7FE00010, "OB", item(b"") + item(FRAMES[0])),
            "defined length",
        ),
        ("1.2.840.10008.1.2.4.102", PIXELS + encapsulated(FRAMES), "no decoder"),
        ("1.2.840.10008.1.2.4.94", PIXELS, "lie elsewhere"),
        (EXPLICIT_LITTLE, element(0x00100010, "PN", b"A", length=10), "longer than what"),
        (
            EXPLICIT_LITTLE,
            element(0x00100010, "PN", b"A") + b"\1\2\3\4\5\6\7\x08\x09",
            "header cannot be read",
        ),
        (DEFLATED_LITTLE, None, "deflated data set"),
    ],
)
def test_what_cannot_be_had_has_a_reason(transcoded, tmp_path, syntax, body, reason):
    path = write(tmp_path / "object.dcm", body or b"", syntax)
    if body is None:
        path.write_bytes(path.read_bytes()[:-2] + b"\xff\xff")
    with pytest.raises(Untranscodable, match=reason):
        transcoded(path, IMPLICIT_LITTLE)


def test_frames_are_limited(transcoded, tmp_path):
    path = write(tmp_path / "object.dcm", PIXELS + encapsulated(FRAMES), UNCOMPRESSED_FRAMES)
    assert transcoded(path, IMPLICIT_LITTLE, longest_frame=8)
    with pytest.raises(Untranscodable, match="longer than 7 bytes"):
        transcoded(path, IMPLICIT_LITTLE, longest_frame=7)


def test_sequences_have_a_depth(transcoded, tmp_path):
    def nested(depth):
        body = b""
        for _ in range(depth):
            body = sequence(0x00081140, [body], delimited=True)
        return write(tmp_path / "object.dcm", body)

    assert transcoded(nested(100), IMPLICIT_LITTLE)
    with pytest.raises(Untranscodable, match="nested too deeply"):
        transcoded(nested(200), IMPLICIT_LITTLE)


# --- VRs -------------------------------------------------------------------------------

AMBIGUOUS = {
    **dict.fromkeys(
        (0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280120, 0x00280121, 0x00283002,
         0x00409211, 0x00409216, 0x00603004, 0x00603006),
        ("US", "SS"),
    ),
    **dict.fromkeys((0x00281200, 0x00281201, 0x00283006, 0x60003000, 0x60023000, 0x7FE00010),
                    ("OW", "OW")),
    **dict.fromkeys((0x50003000, 0x5000200C, 0x7F000010, 0x00143050), ("OB", "OB")),
    0x5400100A: ("OB", "OW"), 0x54001010: ("OB", "OW"),
}  # fmt: skip
"""The VR for unsigned pixels and waveforms of 8 bits or of unknown ones, else."""


def _ambiguous(tmp_path, *, otherwise):
    els = {tag: element(tag, "", SHORT, IMPLICIT_LITTLE) for tag in AMBIGUOUS}
    els[0x00080016] = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0", IMPLICIT_LITTLE)
    els[0x00080018] = element(0x00080018, "UI", b"1.2.3.4\0", IMPLICIT_LITTLE)
    if otherwise:
        els[0x00280103] = element(0x00280103, "US", SHORT, IMPLICIT_LITTLE)
        els[0x54001004] = element(0x54001004, "US", b"\x10\0", IMPLICIT_LITTLE)
    body = b"".join(els[tag] for tag in sorted(els))
    return write(tmp_path / f"{otherwise}.dcm", body, IMPLICIT_LITTLE)


@pytest.mark.parametrize("otherwise", [False, True])
def test_ambiguous_vrs_are_decided(transcoded, tmp_path, otherwise):
    path = _ambiguous(tmp_path, otherwise=otherwise)
    found = tree(transcoded(path, EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    assert {tag: found[(tag,)][0] for tag in AMBIGUOUS} == {
        tag: vrs[otherwise] for tag, vrs in AMBIGUOUS.items()
    }


@pytest.mark.parametrize("otherwise", [False, True])
def test_ambiguous_vrs_are_decided_as_dcmtk_does(tmp_path, otherwise):
    path = _ambiguous(tmp_path, otherwise=otherwise)
    out = tmp_path / "dcmtk.dcm"
    words = (program("dcmconv", "dcmtk"), "--write-xfer-little", str(path), str(out))
    subprocess.run(words, check=True, timeout=30)
    said = tree(datasets.encoded_data_set(out), EXPLICIT_LITTLE)
    assert {tag: said[(tag,)][0] for tag in AMBIGUOUS} == {
        tag: vrs[otherwise] for tag, vrs in AMBIGUOUS.items()
    }


def test_pixel_representation_is_that_of_the_nearest_data_set(transcoded, tmp_path):
    smallest = element(0x00280106, "SS", SHORT, IMPLICIT_LITTLE)
    unsigned = element(0x00280103, "US", b"\0\0", IMPLICIT_LITTLE) + smallest
    signed = element(0x00280103, "US", SHORT, IMPLICIT_LITTLE) + smallest
    # Before (0028,0103) of the data set, which is that of the first item as well.
    body = sequence(0x00081140, [smallest, unsigned], IMPLICIT_LITTLE) + signed
    path = write(tmp_path / "object.dcm", body, IMPLICIT_LITTLE)
    found = tree(transcoded(path, EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    vrs = [vr for at, (vr, _) in found.items() if at[-1] == 0x00280106]
    assert vrs == ["SS", "US", "SS"]


def test_private_vrs_are_those_of_their_creator_in_their_block(transcoded, tmp_path):
    body = (
        element(0x00090010, "LO", b"GEMS_IDEN_01", IMPLICIT_LITTLE)
        + element(0x00090011, "LO", b"NOBODY", IMPLICIT_LITTLE)
        + element(0x00091001, "LO", b"GE", IMPLICIT_LITTLE)
        + element(0x00091027, "SL", b"\1\0\0\0", IMPLICIT_LITTLE)
        + element(0x00091101, "LO", b"??", IMPLICIT_LITTLE)
    )
    path = write(tmp_path / "object.dcm", body, IMPLICIT_LITTLE)
    found = tree(transcoded(path, EXPLICIT_BIG), EXPLICIT_BIG)
    assert [(at[0], *found[at]) for at in found] == [
        (0x00090010, "LO", b"GEMS_IDEN_01"),
        (0x00090011, "LO", b"NOBODY"),
        (0x00091001, "LO", b"GE"),
        (0x00091027, "SL", b"\1\0\0\0"),
        (0x00091101, "UN", b"??"),
    ]


def test_what_is_too_long_for_its_vr_is_unknown(transcoded, tmp_path):
    body = element(0x00104000, "LT", b"x" * 65_534, IMPLICIT_LITTLE)
    body += element(0x00104030, "LT", b"x" * 65_536, IMPLICIT_LITTLE).replace(
        struct.pack("<HH", 0x0010, 0x4030), struct.pack("<HH", 0x0032, 0x4000)
    )
    path = write(tmp_path / "object.dcm", body, IMPLICIT_LITTLE)
    found = tree(transcoded(path, EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    assert [(vr, len(value)) for vr, value in found.values()] == [("LT", 65_534), ("UN", 65_536)]


def test_group_lengths_are_left_out(transcoded, tmp_path):
    body = element(0x00080000, "UL", b"\x0a\0\0\0") + element(0x00080060, "CS", b"CT")
    path = write(tmp_path / "object.dcm", body)
    assert transcoded(path, IMPLICIT_LITTLE) == element(0x00080060, "CS", b"CT", IMPLICIT_LITTLE)
    assert transcoded(path, EXPLICIT_BIG) == element(0x00080060, "CS", b"CT", EXPLICIT_BIG)


@pytest.mark.parametrize("source", TARGETS)
@pytest.mark.parametrize("target", TARGETS)
def test_what_has_a_length_has_one_and_what_is_delimited_is(transcoded, tmp_path, source, target):
    def made(syntax):
        name = element(0x00100010, "PN", b"A^B ", syntax)
        inner = sequence(0x00081140, [name, b""], syntax)
        long = element(0x00080119, "UC", b"abcd", syntax)
        delimited = sequence(0x00081115, [inner + long, name], syntax, delimited=True)
        return (
            sequence(0x00081110, [inner, delimited, long], syntax)
            + sequence(0x00081111, [], syntax)
            + delimited
        )

    path = write(tmp_path / "object.dcm", made(source), source)
    assert transcoded(path, target) == made(target)


# --- what is read past -----------------------------------------------------------------

NAME = element(0x00100010, "PN", b"A^B ")
OPEN = (
    element(0x00081140, "SQ", b"", length=UNDEFINED)
    + mark(ITEM, UNDEFINED)
    + element(0x00081150, "UI", b"1.2\0")
)
"""A sequence and its item, both without delimiters."""


def _values(raw, target):
    raw = zlib.decompress(raw, -zlib.MAX_WBITS) if target == DEFLATED_LITTLE else raw
    found = tree(raw, target)
    return {at: value for at, (vr, value) in found.items() if vr not in {"SQ", "item"}}


@pytest.mark.parametrize(
    ("odd", "values"),
    [
        # A VR of the future, one that is none in both forms, none at all.
        (element(0x00080070, "UN", b"ab").replace(b"UN", b"ZX"), {(0x00080070,): b"ab"}),
        (element(0x00080070, "LO", b"ab").replace(b"LO", b"??"), {(0x00080070,): b"ab"}),
        (element(0x00080070, "UN", b"ab").replace(b"UN", b"??"), {(0x00080070,): b"ab"}),
        (element(0x00080070, "LO", b"ab").replace(b"LO", b"\0\0"), {(0x00080070,): b"ab"}),
        (element(0x00080070, "LO", b"ab", IMPLICIT_LITTLE), {(0x00080070,): b"ab"}),
        # Delimiters that are missing or stray.
        (OPEN + mark(ITEM_END), {(0x00081140, 0, 0x00081150): b"1.2\0"}),
        (
            OPEN + mark(ITEM, UNDEFINED) + element(0x00081155, "UI", b"1.3\0")
            + mark(ITEM_END) + mark(ITEM_END) + mark(SEQUENCE_END),
            {(0x00081140, 0, 0x00081150): b"1.2\0", (0x00081140, 1, 0x00081155): b"1.3\0"},
        ),
        (OPEN + mark(SEQUENCE_END), {(0x00081140, 0, 0x00081150): b"1.2\0"}),
        (element(0x00080060, "CS", b"CT") + mark(SEQUENCE_END), {(0x00080060,): b"CT"}),
        # Explicit items in an unknown sequence, which must be implicit.
        (
            sequence(0x00091001, [element(0x00081150, "UI", b"1.2\0")], delimited=True, vr="UN"),
            {(0x00091001, 0, 0x00081150): b"1.2\0"},
        ),
        # NULs where an element should be are behind the data set.
        (b"", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", [*TARGETS, DEFLATED_LITTLE])
def test_differences_from_the_standard_are_read_past(tmp_path, transcoded, odd, values, target):
    path = write(tmp_path / "object.dcm", odd + NAME + b"\0" * 16)
    raw = transcoded(path, target)
    assert _values(raw, target) == values | {(0x00100010,): b"A^B "}


@pytest.mark.parametrize("target", TARGETS)
def test_what_ends_without_delimiters_ends(tmp_path, transcoded, target):
    raw = transcoded(write(tmp_path / "object.dcm", OPEN), target)
    assert _values(raw, target) == {(0x00081140, 0, 0x00081150): b"1.2\0"}


def test_fragments_that_are_no_pixel_data_are_kept(tmp_path, transcoded):
    value = encapsulated([b"ab"], 0x00091001)
    path = write(tmp_path / "object.dcm", value + NAME)
    assert transcoded(path, EXPLICIT_BIG).endswith(element(0x00100010, "PN", b"A^B ", EXPLICIT_BIG))
    # Implicit VR has no way to say that these are fragments: they are one value.
    items = item(b"") + item(b"ab")
    assert transcoded(path, IMPLICIT_LITTLE) == (
        element(0x00091001, "OB", items, IMPLICIT_LITTLE)
        + element(0x00100010, "PN", b"A^B ", IMPLICIT_LITTLE)
    )


def test_the_byte_order_is_that_of_the_data(transcoded, tmp_path):
    body = element(0x00080060, "CS", b"CT") + element(0x00280010, "US", b"\2\0")
    # Little endian, whatever the file meta group says.
    path = write(tmp_path / "object.dcm", body, EXPLICIT_BIG)
    assert transcoded(path, EXPLICIT_LITTLE) == body


def test_an_unknown_sequence_stays_as_it_is(transcoded, tmp_path):
    # Implicit VR little endian inside, in every transfer syntax (PS3.5 6.2.2, note 2).
    inside = element(0x00280010, "US", b"\2\0", IMPLICIT_LITTLE)
    inside += sequence(0x00081140, [inside], IMPLICIT_LITTLE)
    items = item(inside) + item(inside, delimited=True) + mark(SEQUENCE_END)
    for source in (EXPLICIT_LITTLE, EXPLICIT_BIG):
        header = element(0x00091001, "UN", b"", source, length=UNDEFINED)
        path = write(tmp_path / "object.dcm", header + items, source)
        for target in TARGETS:
            assert transcoded(path, target).endswith(items)
