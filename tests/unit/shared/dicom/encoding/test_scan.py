"""The header scanner agrees with pydicom on every test file, and survives damage.

Not covered here: what the index makes of the values.
"""

import random
import time
import warnings
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.data_set import gather
from draw_shared.dicom.encoding.flaws import Flaw
from draw_shared.dicom.encoding.nesting import MAX_DEPTH
from draw_shared.dicom.encoding.scan import Scanner
from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE
from draw_shared.dicom.encoding.walk import WalkEnd
from support import odd_data_sets as odd
from support.datasets import DATA

WANTED = frozenset(
    (524293, 524310, 524312, 1048592, 1048608, 2097165, 2097166, 2097171, 524320, 524384, 2621456)
)
LAST = 0x00400275


def readable_files():
    for name in sorted(DATA.rglob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                data = dcmread(name)
                data.walk(lambda *_: None)
            except Exception:  # noqa: BLE001, S112 - deliberately broken files
                continue
        tags = [int(e.tag) for e in data]
        if "TransferSyntaxUID" in data.file_meta and "SOPInstanceUID" in data and tags:
            yield name


FILES = list(readable_files())


def values_by_pydicom(data):
    return {t: data.get_item(t) for t in WANTED if t in data}


@pytest.mark.parametrize("name", FILES, ids=lambda n: Path(n).name)
def test_it_reads_what_pydicom_reads(name):
    raw = Path(name).read_bytes()
    meta, offset = part10.decode(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = dcmread(name, stop_before_pixels=True)
    _, gathered = gather(raw[offset:], meta.transfer_syntax_uid, WANTED, last=LAST)
    found = gathered.values
    assert gathered.ending in {WalkEnd.PASSED, WalkEnd.ENDED}
    assert set(found) == {t for t in WANTED if t in expected}
    for tag in (0x00080018, 0x0020000D, 0x00100020):
        if tag in found:
            assert found[tag].rstrip(b"\0 ").decode("latin-1") == str(expected[tag].value or "")


def encoded(data, *, implicit=True, little=True):
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = implicit
    buffer.is_little_endian = little
    write_dataset(buffer, data)
    return buffer.getvalue()


def nested(depth, *, undefined):
    inner = Dataset()
    inner.PatientID = "INSIDE"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedStudySequence = [inner]
        outer["ReferencedStudySequence"].is_undefined_length = undefined
        inner.is_undefined_length_sequence_item = undefined
        inner = outer
    inner.PatientID = "OUTSIDE"
    return inner


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
def test_nested_values_are_not_taken_for_the_objects_own(undefined, implicit):
    raw = encoded(nested(5, undefined=undefined), implicit=implicit)
    gathered = Scanner(explicit=not implicit).gather(raw, WANTED, last=LAST)
    assert gathered.values[0x00100020].strip() == b"OUTSIDE"
    assert not gathered.flaws


def test_nesting_is_bounded():
    raw = encoded(nested(1, undefined=True))
    at = raw.index(b"\xfe\xff\x00\xe0") + 8
    gathered = Scanner(explicit=False).gather(raw[:at] * MAX_DEPTH * 2, WANTED, last=LAST)
    assert gathered.ending is WalkEnd.DAMAGED
    assert list(gathered.flaws) == [Flaw.UNREADABLE]


def test_a_beginning_that_is_too_short_says_so():
    raw = encoded(nested(2, undefined=True))
    gathered = Scanner(explicit=False).gather(raw[:20], WANTED, last=LAST, whole=False)
    assert gathered.ending is WalkEnd.CUT


def test_items_of_a_wanted_sequence_are_read():
    data = Dataset()
    first, second = Dataset(), Dataset()
    first.ScheduledProcedureStepID = "ONE"
    second.ScheduledProcedureStepID = "TWO"
    data.RequestAttributesSequence = [first, second]
    scanner = Scanner(explicit=True)
    wanted = frozenset((0x00400275,))
    raw = scanner.gather(encoded(data, implicit=False), wanted, last=LAST).values
    items = list(scanner.items(raw[0x00400275], frozenset((0x00400009,))))
    assert [i[0x00400009].strip() for i in items] == [b"ONE", b"TWO"]


@pytest.mark.security
def test_damage_is_read_past_or_noted_quickly_and_never_crashes():
    chance = random.Random(11)
    raw = encoded(nested(6, undefined=True), implicit=False)
    scanner = Scanner(explicit=True)
    began = time.monotonic()
    for _ in range(3000):
        damaged = bytearray(raw)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        gathered = scanner.gather(
            bytes(damaged[: chance.randint(1, len(damaged))]), WANTED, last=LAST
        )
        assert gathered.ending in {WalkEnd.PASSED, WalkEnd.ENDED} or gathered.flaws
    assert time.monotonic() - began < 30


def test_a_meta_group_survives_a_round_trip():
    meta = part10.FileMeta(
        "1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1", "CT1", "DRAW_SCP", "10.0.0.7", "fe80::1",
        {"association_id": "abc", "move_originator_message_id": 7},
    )  # fmt: skip
    raw = meta.encode()
    assert part10.decode(raw + b"\x08\0\x05\0CS\0\0") == (meta, len(raw))


def test_our_files_are_part_10_files_for_pydicom(tmp_path):
    meta = part10.FileMeta(
        "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2", "CT1", "DRAW_SCP", "10.0.0.7"
    )
    data = Dataset()
    data.PatientID = "P1"
    path = tmp_path / "one.dcm"
    path.write_bytes(meta.encode() + encoded(data))
    found = dcmread(path)
    assert found.PatientID == "P1"
    assert found.file_meta.SourceApplicationEntityTitle == "CT1"
    assert found.file_meta.ReceivingApplicationEntityTitle == "DRAW_SCP"
    assert found.file_meta.FileMetaInformationGroupLength == len(meta.encode()) - 144


def test_an_implicit_length_that_looks_like_a_vr_is_a_length():
    length = int.from_bytes(b"UL", "little")
    blob = odd.header(0x00091001, "OB", length, IMPLICIT_LITTLE) + bytes(length)
    data = odd.data_set(odd.new_object(), (0x00091001, blob), syntax=IMPLICIT_LITTLE)
    _, gathered = gather(data, IMPLICIT_LITTLE, WANTED, last=LAST)
    assert not gathered.flaws
    assert gathered.values[0x00280010] == b"\2\0"


def test_a_vr_that_nobody_knows_is_none():
    data = b"\x09\0\x01\x10\xff\xd5\2\0ab" + odd.data_set(odd.new_object())
    assert next(Scanner(explicit=True).elements(data)) == (0x00091001, b"", b"ab")
