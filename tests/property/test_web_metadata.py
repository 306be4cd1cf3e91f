"""Metadata and frames equal what pydicom reads, for its own files and for generated data sets.

The differences that are meant are in `support.json_reference`. Damaged files are covered by
tests/unit/shared/dicom/web.
"""

import json
import os
import random
import warnings
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_nr_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.web.element_texts import ElementTexts
from draw_shared.dicom.web.frame_tables import FrameTable, make_frame_table
from draw_shared.dicom.web.json_model import SeriesMetadata, read_irregular, read_metadata
from draw_shared.dicom.web.object_json import Found
from draw_shared.dicom.web.opened_file import OpenedFile, StoredImage
from draw_shared.dicom.web.regular_json import Irregular, RegularReading
from support import datasets
from support.elements import write
from support.generated_data_sets import data_sets, encoded
from support.json_reference import bulk_uri, expected_json

pytestmark = pytest.mark.property

GENERATED = 500
CUT = {"MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset"}
"""Files whose last element is cut short: it is left out."""
OTHERS = {"meta_missing_tsyntax.dcm"}
"""Files that say no transfer syntax."""
WITHOUT_ANSWER = {"badVR.dcm"}
"""Files that pydicom itself has no JSON for."""
WITHOUT_FRAMES = {"MR_truncated.dcm", "badVR.dcm", "nested_priv_SQ.dcm"}
"""Files whose pixel data are cut short, or fewer than they say, or of no size."""
SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)  # fmt: skip
BY_UID = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE)


@contextmanager
def opened(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("objects") / "one.dcm"


def real_files():
    """Yield (path, data set) of each file of pydicom that it can read."""
    for path in sorted(datasets.DATA.rglob("*")):
        if not path.is_file():
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield path, pydicom.dcmread(path)
        except (pydicom.errors.InvalidDicomError, OSError, ValueError, KeyError):
            continue


@pytest.mark.filterwarnings("ignore")
def test_the_json_of_every_real_file_is_that_of_pydicom():
    compared, cut, others, unanswered = 0, set(), set(), set()
    for path, held in real_files():
        with opened(path) as descriptor:
            try:
                metadata = read_metadata(descriptor, bulk_uri)
            except Undecodable:
                others.add(path.name)
                continue
        found = json.loads(metadata.document)
        assert list(found) == sorted(found), path.name
        try:
            wanted = expected_json(held)
        except ValueError:
            unanswered.add(path.name)
            continue
        if not metadata.complete:
            cut.add(path.name)
            last = max(wanted)
            assert last not in found, path.name
            del wanted[last]
        assert found == wanted, path.name
        compared += 1
    assert compared > 180
    assert (cut, others, unanswered) == (CUT, OTHERS, WITHOUT_ANSWER)


@pytest.mark.filterwarnings("ignore")
def test_bulk_values_of_real_files_are_at_their_positions():
    compared = 0
    for path, held in real_files():
        if path.name in CUT | OTHERS:
            continue
        with opened(path) as descriptor:
            metadata = read_metadata(descriptor, bulk_uri)
            stored = OpenedFile.open(descriptor)
            for bulk in metadata.bulk:
                found = stored.read(bulk.position, bulk.length)
                value = at_path(held, bulk.path)
                # pydicom keeps the fragments with their delimiter.
                assert bytes(value)[: bulk.length] == found, (path.name, bulk.path)
                assert len(value) - bulk.length in ({0, 8} if bulk.encapsulated else {0})
                compared += 1
    assert compared > 110


def at_path(held, path):
    *around, last = path.split("/")
    for tag, number in zip(around[::2], around[1::2], strict=True):
        held = held[int(tag, 16)].value[int(number)]
    element = held.get_item(int(last, 16))
    return element.value


@pytest.mark.filterwarnings("ignore")
def test_both_readers_say_the_same_of_every_real_file():
    compared = 0
    for path, _ in real_files():
        if path.name in OTHERS:
            continue
        with opened(path) as descriptor:
            quick = read_metadata(descriptor, bulk_uri)
            slow = read_irregular(OpenedFile.open(descriptor), bulk_uri)
        assert quick == slow, path.name
        compared += 1
    assert compared > 180


@pytest.mark.filterwarnings("ignore")
def test_what_is_remembered_of_a_series_changes_nothing():
    alone, paths = [], [path for path, _ in real_files() if path.name not in OTHERS]
    for path in paths:
        with opened(path) as descriptor:
            alone.append(read_metadata(descriptor, bulk_uri))
    series = SeriesMetadata()
    for _ in range(3):
        for path, wanted in zip(paths, alone, strict=True):
            with opened(path) as descriptor:
                assert series.add(descriptor, bulk_uri) == wanted, path.name
    assert len(json.loads(series.document())) == 3 * len(paths)


# --- generated data sets -----------------------------------------------------------------

WORDS = ("A", "Müller", "山田", "", "x y", 'quo"te', "tab\tline\r\n", "Ångström", "ß" * 30)
PLAIN = ("ORIGINAL", "AXIAL", "A_1", "")
NAMES = ("Doe^Jane", "Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田", "A^^^Dr.", "Müller^J")
KEYWORDS = {
    "CS": ("ImageType", "ScanOptions"), "LO": ("OtherPatientIDs", "StudyDescription"),
    "SH": ("AccessionNumber", "StationName"), "PN": ("PatientName", "OtherPatientNames"),
    "LT": ("AdditionalPatientHistory",), "ST": ("InstitutionAddress",),
    "UT": ("TextValue",), "UC": ("StrainDescription",), "UR": ("RetrieveURL",),
    "DA": ("StudyDate", "PatientBirthDate"), "TM": ("StudyTime",), "DT": ("AcquisitionDateTime",),
    "AE": ("RetrieveAETitle",), "AS": ("PatientAge",), "UI": ("StudyInstanceUID",),
    "DS": ("PixelSpacing", "ImagePositionPatient", "PatientWeight"),
    "IS": ("SeriesNumber", "ReferencedFrameNumber"), "AT": ("FrameIncrementPointer",),
    "US": ("Rows", "SmallestImagePixelValue"), "SS": ("TagAngleSecondAxis",),
    "UL": ("SimpleFrameList", "RegionFlags"), "SL": ("ReferencePixelX0",),
    "FL": ("RecommendedDisplayFrameRateInFloat", "TableOfXBreakPoints"),
    "FD": ("RealWorldValueSlope", "ExposureTimeInms", "EventTimeOffset"),
    "OB": ("ICCProfile",), "OW": ("RedPaletteColorLookupTableData",),
    "OF": ("VectorGridData",), "OD": ("DoubleFloatPixelData",), "OL": ("TrackPointIndexList",),
    "SV": ("SelectorSVValue",), "UV": ("SelectorUVValue",), "OV": ("ExtendedOffsetTable",),
    "UN": ("SelectorUNValue",),
}  # fmt: skip
SEQUENCES = ("ReferencedStudySequence", "RequestAttributesSequence", "IconImageSequence")


def make_values(chance, vr):
    """Return a value of a VR: empty, one, or several."""
    several = chance.choice((0, 1, 1, 2, 3))
    numbers = {"US": (0, 65535), "SS": (-32768, 32767), "UL": (0, 2**32 - 1),
               "SL": (-(2**31), 2**31 - 1), "UV": (0, 2**64 - 1), "SV": (-(2**63), 2**63 - 1),
               "AT": (0x00080000, 0x7FE00010)}  # fmt: skip
    one = {
        "PN": lambda: chance.choice(NAMES),
        "CS": lambda: chance.choice(PLAIN),
        "AE": lambda: chance.choice(("PACS", "A B")),
        "AS": lambda: "045Y",
        "DA": lambda: chance.choice(("20260102", "19991231")),
        "TM": lambda: chance.choice(("101112", "101112.123456")),
        "DT": lambda: "20260102101112.5+0100",
        "UI": lambda: f"1.2.{chance.randrange(10**9)}",
        "UR": lambda: "http://x.example/a%20b",
        "DS": lambda: chance.choice(("1.50", "-0.000001", "+7", ".5", "1e-3", "12", "007")),
        "IS": lambda: chance.choice(("1", "-12", "+3", "007", "2147483647")),
        "FL": lambda: chance.choice((1.5, -0.25, float("nan"), float("inf"), 1e30)),
        "FD": lambda: chance.choice((0.1, -1e300, float("nan"), float("-inf"), 5.0)),
    }
    if vr in numbers:
        low, high = numbers[vr]
        return [chance.randint(low, high) for _ in range(several)] or None
    if vr in {"OB", "OW", "OF", "OD", "OL", "OV", "UN"}:
        return chance.randbytes(8 * chance.choice((0, 1, 7, 128, 129, 400)))
    if vr in {"LT", "ST", "UT"}:
        return chance.choice(WORDS)
    if vr in {"UR", "AS", "DA", "TM", "DT"}:
        return one[vr]() if several else ""
    make = one.get(vr, lambda: chance.choice(WORDS[:4] + WORDS[7:]))
    return [make() for _ in range(several)]


def make_data_set(chance, depth=2):
    made = Dataset()
    for vr in chance.sample(sorted(KEYWORDS), chance.randint(3, len(KEYWORDS))):
        keyword = chance.choice(KEYWORDS[vr])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.add_new(keyword, vr, make_values(chance, vr))
    if chance.random() < 0.5:
        block = made.private_block(0x0029, "DRAW TEST", create=True)
        block.add_new(1, "LO", chance.choice(WORDS))
        block.add_new(2, "UN", chance.randbytes(6))
        block.add_new(3, "SQ", Sequence([Dataset()]))
    if depth:
        for keyword in chance.sample(SEQUENCES, chance.randint(0, 3)):
            items = [make_data_set(chance, depth - 1) for _ in range(chance.randint(0, 3))]
            setattr(made, keyword, Sequence(items))
            undefined = chance.random() < 0.5
            made[keyword].is_undefined_length = undefined
            for item in items:
                item.is_undefined_length_sequence_item = undefined
    return made


def is_regular(path):
    """Return whether the quick reader reads a file to its end."""
    with opened(path) as descriptor:
        stored = OpenedFile.open(descriptor)
        found = Found(bulk_uri, StoredImage(stored.transfer_syntax_uid))
        try:
            reading = RegularReading(stored, found, ElementTexts())
            return bool(reading.members(b"", stored.offset, stored.offset))
        except Irregular:
            return False


DAMAGED = 1200


def damage(chance, raw):
    """Return a data set with some bytes changed, left out or put in."""
    damaged = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(damaged))
        kind = chance.randrange(4)
        if kind == 0:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            damaged[at] = chance.choice((0, 1, 0xFE, 0xFF))
        elif kind == 2:
            del damaged[at : at + chance.choice((1, 2, 8, 100))]
        else:
            damaged[at:at] = chance.choice((b"\0\0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xff" * 4))
    return bytes(damaged)


def outcome(read):
    try:
        return read()
    except Undecodable as error:
        return str(error)


def has_frames(path, image):
    """Return whether there is a table of frames, and check that it can be kept and used."""
    with opened(path) as descriptor:
        stored = OpenedFile.open(descriptor)
        try:
            table = make_frame_table(image, stored.read)
        except Undecodable:
            return False
        kept = FrameTable.decode(table.encode())
        for number in {1, table.frames}:
            assert kept.extents(number) == table.extents(number)
            assert len(kept.read(number, stored.read)) == kept.length_of(number)
    return True


@pytest.mark.timeout(300)
def test_damaged_files_give_valid_json_and_both_readers_say_the_same(file):
    seeds = [
        path.read_bytes()[:20_000]
        for name in ("rtplan.dcm", "nested_priv_SQ.dcm", "rtstruct.dcm", "reportsi.dcm",
                     "liver_1frame.dcm", "UN_sequence.dcm", "priv_SQ.dcm", "waveform_ecg.dcm",
                     "emri_small_RLE.dcm", "SC_rgb_rle_2frame.dcm", "image_dfl.dcm")
        for path in datasets.DATA.rglob(name)
    ]  # fmt: skip
    series = SeriesMetadata()
    readable = framed = 0
    for number in range(DAMAGED):
        chance = random.Random(number)
        raw = chance.choice(seeds)
        begin = min(300, len(raw) // 2)
        file.write_bytes(raw[:begin] + damage(chance, raw[begin:]))
        with opened(file) as descriptor:
            quick = outcome(lambda: series.read(descriptor, bulk_uri))
            slow = outcome(lambda: read_irregular(OpenedFile.open(descriptor), bulk_uri))
        assert quick == slow, number
        if not isinstance(quick, str):
            json.loads(quick.document, parse_constant=pytest.fail)
            readable += 1
            framed += has_frames(file, quick.image)
    assert readable > DAMAGED / 2
    assert framed > DAMAGED / 20


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
def test_the_json_of_generated_data_sets_is_that_of_pydicom(tmp_path):
    path = tmp_path / "one.dcm"
    regular = 0
    series = SeriesMetadata()
    for number in range(GENERATED):
        chance = random.Random(number)
        syntax = SYNTAXES[number % len(SYNTAXES)]
        made = make_data_set(chance)
        made.SpecificCharacterSet = chance.choice(("ISO_IR 192", "GB18030"))
        made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", f"1.2.{number}"
        made.PixelRepresentation = 0
        made.file_meta = datasets._meta(made, syntax)
        made.save_as(path, enforce_file_format=True)
        with opened(path) as descriptor:
            metadata = series.read(descriptor, bulk_uri)
            slow = read_irregular(OpenedFile.open(descriptor), bulk_uri)
        assert metadata.complete, number
        assert json.loads(metadata.document) == expected_json(pydicom.dcmread(path)), number
        assert (metadata.document, metadata.bulk) == (slow.document, slow.bulk), number
        regular += is_regular(path)
    # Of four transfer syntaxes, two are for the quick reader. Without VRs, not all can be for it.
    assert regular > GENERATED * 3 / 8


@given(content=data_sets())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_as_values_give_the_same_json_by_both_readers(file, content):
    for syntax in BY_UID:
        write(file, encoded(content, syntax), syntax)
        with opened(file) as descriptor:
            quick = read_metadata(descriptor, bulk_uri)
            slow = read_irregular(OpenedFile.open(descriptor), bulk_uri)
        assert quick == slow, syntax
        json.loads(quick.document, parse_constant=pytest.fail)


# --- frames ------------------------------------------------------------------------------


def frames_of(held):
    """Return the frames as pydicom finds them: encoded ones, else the bytes of each."""
    count = get_nr_frames(held, warn=False)
    if held.file_meta.TransferSyntaxUID.is_encapsulated:
        tables = None
        if "ExtendedOffsetTable" in held:
            tables = held.ExtendedOffsetTable, held.ExtendedOffsetTableLengths
        return list(
            generate_frames(held.PixelData, number_of_frames=count, extended_offsets=tables)
        )
    value = next(
        held[word].value
        for word in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        if word in held
    )
    if held.BitsAllocated == 1:
        bits = np.unpackbits(np.frombuffer(value, "u1"), bitorder="little")
        size = held.Rows * held.Columns
        parts = (bits[n * size : (n + 1) * size] for n in range(count))
        return [np.packbits(part, bitorder="little").tobytes() for part in parts]
    length = held.Rows * held.Columns * held.SamplesPerPixel * held.BitsAllocated // 8
    if "422" in held.PhotometricInterpretation:
        length = length * 2 // 3
    return [value[begin:end] for begin, end in pairwise(range(0, length * count + 1, length))]


@pytest.mark.filterwarnings("ignore")
def test_every_frame_of_the_real_files_is_that_of_pydicom():
    files = frames = encapsulated = 0
    unknown = set()
    for path, held in real_files():
        if path.name in OTHERS or not {"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & {
            *held.dir()
        }:
            continue
        with opened(path) as descriptor:
            metadata = read_metadata(descriptor, bulk_uri)
            stored = OpenedFile.open(descriptor)
            try:
                table = make_frame_table(metadata.image, stored.read)
            except Undecodable:
                unknown.add(path.name)
                continue
            kept = FrameTable.decode(table.encode())
            wanted = frames_of(held)
            assert kept.frames == len(wanted), path.name
            for number, frame in enumerate(wanted, start=1):
                assert kept.read(number, stored.read) == frame, (path.name, number)
                assert kept.length_of(number) == len(frame), (path.name, number)
        files += 1
        frames += len(wanted)
        encapsulated += kept.encapsulated
    assert files > 100
    assert frames > 170
    assert encapsulated > 35
    assert unknown == WITHOUT_FRAMES
