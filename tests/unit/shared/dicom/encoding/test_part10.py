"""Where the file meta group of our files and of others' ends, and what it is asked.

Any group 0002 in a data set is covered by tests/property/test_group_0002.py.
"""

import struct

import pytest

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE
from draw_shared.dicom.encoding.walk import Undecodable
from support import odd_data_sets as odd

OURS = FileMeta("1.2.3", "1.2.3.4", EXPLICIT_LITTLE, "CT1", "DRAW", provenance={"a": "b"})
DATA = odd.element(0x00080005, "CS", "ISO_IR 100") * 4


def others(*, said=None, syntax=EXPLICIT_LITTLE):
    """Return a meta group as Orthanc and old archives write it; `said` is what is off."""
    body = b"".join(
        odd.element(0x00020000 | number, vr, value)
        for number, vr, value in (
            (0x01, "OB", b"\0\1"), (0x02, "UI", "1.2.3"), (0x03, "UI", "1.2.3.4"),
            (0x10, "UI", syntax), (0x12, "UI", "1.2.276.0.7230010.3.0"),
        )
    )  # fmt: skip
    if said is None:
        return part10.PREAMBLE + body
    return part10.PREAMBLE + odd.element(0x00020000, "UL", len(body) + said) + body


@pytest.mark.parametrize("said", [None, 0, 4, -4, 10_000, -20, -1])
def test_files_of_others_are_read_whatever_length_they_say(said):
    raw = others(said=said)
    found, offset = part10.decode(raw + DATA)
    assert offset == len(raw)
    assert (found.sop_instance_uid, found.transfer_syntax_uid) == ("1.2.3.4", EXPLICIT_LITTLE)


def test_a_length_that_leaves_the_transfer_syntax_out_is_not_believed():
    short = -len(odd.element(0x00020012, "UI", "1.2.276.0.7230010.3.0")) - len(
        odd.element(0x00020010, "UI", EXPLICIT_LITTLE)
    )
    raw = others(said=short)
    assert part10.decode(raw + DATA)[1] == len(raw)


@pytest.mark.parametrize("begin", [OURS.encode(), others(said=0)])
def test_the_group_ends_where_it_says_whatever_follows(begin):
    leftover = odd.element(0x00020010, "UI", "1.2.840.10008.1.2")
    found, offset = part10.decode(begin + leftover + DATA)
    assert offset == part10.data_set_offset(begin + leftover + DATA) == len(begin)
    assert found.transfer_syntax_uid == EXPLICIT_LITTLE


def test_a_group_that_does_not_say_its_length_is_not_asked_for_provenance():
    raw = OURS.encode()
    without_length = raw[:132] + raw[144:]
    found, offset = part10.decode(without_length + DATA)
    assert offset == len(without_length)
    assert found.provenance == {}
    assert found.sending_ae == "CT1"


@pytest.mark.parametrize("cut", [131, 143, 150, 160, len(OURS.encode()) - 1])
def test_a_group_that_is_cut_short_is_none(cut):
    with pytest.raises(Undecodable):
        part10.decode(OURS.encode()[:cut])


def test_a_length_of_nonsense_is_no_trap():
    raw = part10.PREAMBLE + part10.GROUP_LENGTH + struct.pack("<I", 0xFFFFFFFF)
    with pytest.raises(Undecodable):
        part10.decode(raw + b"\2\0\1\0OB\0\0\xff\xff\xff\xff")
