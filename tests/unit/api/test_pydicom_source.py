"""What pydicom cannot read by itself is shown all the same: elements and pixel data.

Not covered here: limits of time and memory, see tests/integration/api/test_object_reader.py.
"""

import struct

import pytest
from pydicom import dcmread

from draw_api.adapters.object_elements import elements
from draw_api.adapters.object_pixels import facts
from draw_api.adapters.pydicom_source import source
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from support import datasets
from support import odd_data_sets as odd

TRUNCATED = {"20,000 items"}
"""More elements than are shown."""


def written(tmp_path, data, syntax=EXPLICIT_LITTLE):
    path = tmp_path / "odd.dcm"
    path.write_bytes(FileMeta(odd.CT, "1.2.3", syntax).encode() + data)
    return str(path)


def top(found):
    """Return the elements of the data set itself."""
    return {one["tag"]: one["value"] for one in found["items"] if one["depth"] == 0}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", [k for k in odd.KINDS if k.title not in TRUNCATED], ids=lambda kind: kind.title
)
def test_the_elements_of_an_odd_data_set_are_shown(kind, tmp_path):
    made = odd.new_object()
    found = top(elements(written(tmp_path, kind.make(made), kind.syntax), ""))
    assert found["(0010,0020)"] == made.patient
    assert (found["(0010,0010)"], found["(0008,1030)"]) == ("Odd^Data", "Odd study")
    assert (found["(0028,0010)"], found["(0028,0011)"]) == ("2", "3")
    assert found["(7FE0,0010)"].endswith("bytes")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("declared", "true"),
    [
        (IMPLICIT_LITTLE, EXPLICIT_LITTLE),
        (EXPLICIT_BIG, EXPLICIT_LITTLE),
        (EXPLICIT_LITTLE, EXPLICIT_BIG),
        (EXPLICIT_BIG, IMPLICIT_LITTLE),
    ],
)
def test_pixels_in_another_encoding_than_agreed_are_shown(declared, true, tmp_path):
    order = ">" if true == EXPLICIT_BIG else "<"
    pixels = struct.pack(f"{order}6H", *range(100, 106))
    module = [
        (0x00280002, "US", 1), (0x00280004, "CS", "MONOCHROME2"), (0x00280100, "US", 16),
        (0x00280101, "US", 16), (0x00280102, "US", 15), (0x00280103, "US", 0),
    ]  # fmt: skip
    held = odd.elements(odd.new_object(), true)
    held |= {tag: odd.element(tag, vr, value, true) for tag, vr, value in module}
    held[0x7FE00010] = odd.element(0x7FE00010, "OW", pixels, true)
    path = written(tmp_path, b"".join(held[tag] for tag in sorted(held)), declared)
    shown = facts(path)
    assert not shown.get("trouble")
    assert (shown["low"], shown["high"]) == (100.0, 105.0)


def test_a_leftover_transfer_syntax_is_not_believed(tmp_path):
    made = datasets.build(size_bytes=2000)
    path = datasets.write(made, tmp_path / "one.dcm")
    raw = path.read_bytes()
    at = raw.index(odd.element(0x00080005, "CS", "ISO_IR 192"))
    path.write_bytes(raw[:at] + odd.element(0x00020010, "UI", odd.JPEG) + raw[at:])
    assert dcmread(source(str(path))).file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
    assert not facts(str(path)).get("trouble")


def test_a_file_as_it_should_be_is_read_from_its_path(tmp_path):
    path = str(datasets.write(datasets.build(), tmp_path / "one.dcm"))
    assert source(path) == path
