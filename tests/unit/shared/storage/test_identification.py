"""Objects whose data sets break the rules of PS3.5 say who they are, or why they cannot.

Not covered here: what the index makes of them (test_header_reader), and the receiver's
answers (test_ingest).
"""

import random
import time
from contextlib import suppress

import pytest

from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.storage.identification import HEAD_BYTES, identify
from support import odd_data_sets as odd


def identified(data, syntax=EXPLICIT_LITTLE):
    return identify(lambda most: data[:most], len(data), syntax)


@pytest.mark.parametrize("kind", [*odd.KINDS, *odd.BOUNDED], ids=lambda kind: kind.title)
def test_an_odd_data_set_says_who_it_is(kind):
    made = odd.new_object()
    found = identified(kind.make(made), kind.syntax)
    assert found.sop_class_uid == odd.CT
    identity = found.identity
    assert identity.sop_instance_uid == made.instance
    assert identity.study_instance_uid == made.study
    assert identity.series_instance_uid == made.series


def test_what_is_needed_may_stand_far_behind():
    made = odd.new_object()
    blob = odd.element(0x00091001, "OB", bytes(HEAD_BYTES[0]))
    found = identified(odd.data_set(made, *odd.private(odd.BEFORE, blob)))
    assert found.identity.series_instance_uid == made.series


def test_a_cut_behind_the_identifiers_is_no_reason_to_refuse():
    made = odd.new_object()
    data = odd.data_set(made)
    found = identified(data[: data.index(odd.element(0x00200013, "IS", "7")) + 5])
    assert found.identity.series_instance_uid == made.series


def without_study(data, _):
    return data.replace(b"\x20\0\x0d\0UI", b"\x20\0\x0c\0UI")


@pytest.mark.parametrize(
    ("break_", "words"),
    [
        (without_study, "Study Instance UID is missing"),
        (lambda data, made: data[: data.index(made.series.encode()) - 8], "missing"),
        (lambda data, made: data[: data.index(made.series.encode()) + 3], "cut at (0020,000E)"),
        (
            lambda data, _: b"\xff" * 64 + data,
            "SOP Class UID is missing, unreadable from (FFFF,FFFF)",
        ),
        (lambda *_: b"", "SOP Class UID is missing"),
        (
            lambda data, made: FileMeta(odd.CT, made.instance, EXPLICIT_LITTLE).encode() + data,
            "begins with a DICOM file's preamble",
        ),
    ],
)
def test_what_does_not_say_who_it_is_is_refused_with_the_reason(break_, words):
    made = odd.new_object()
    data = break_(odd.data_set(made), made)
    with pytest.raises(Undecodable) as refused:
        identified(data)
    assert words in str(refused.value)
    assert len(str(refused.value)) <= 64, "an Error Comment holds no more (PS3.7 C)"


def hostile():
    """Yield data sets that make careless parsers slow, each near the end of what is read."""
    most = 4 * 1024 * 1024
    undefined = odd.sequence(0x00081140, end=False)
    yield "nested without end", (undefined + odd.mark(0xE000, odd.UNDEFINED)) * (most // 20)
    yield "items without end", undefined + odd.mark(0xE000) * (most // 8)
    yield (
        "item ends in items",
        (
            (undefined + odd.mark(0xE000, odd.UNDEFINED)) * 200
            + undefined
            + odd.mark(0xE00D) * (most // 8)
        ),
    )
    yield (
        "item ends far from each other",
        (
            (undefined + odd.mark(0xE000, odd.UNDEFINED)) * 50
            + (undefined + odd.mark(0xE000, odd.UNDEFINED) + undefined + odd.mark(0xE00D))
            * (most // 48)
        ),
    )
    yield "strays", odd.mark(0xE00D) * (most // 8)
    yield "unknown VRs", b"\x09\x00\x01\x10??\x00\x00" * (most // 8)
    yield "bare elements", b"\x09\x00\x01\x10\x00\x00\x00\x00" * (most // 8)
    yield "zeros but for the end", bytes(most) + b"\x01"
    yield "values without delimiter", b"\x09\x00\x01\x10OB\0\0\xff\xff\xff\xff" * (most // 12)
    yield (
        "values that end at once",
        (b"\x09\x00\x01\x10OB\0\0\xff\xff\xff\xff" + b"x" * 8 + odd.mark(0xE0DD)) * (most // 28),
    )
    yield "explicit in implicit", odd.element(0x00091001, "LO", "x") * (most // 10)


@pytest.mark.security
@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_hostile_data_sets_take_bounded_time(syntax):
    for title, data in hostile():
        began = time.process_time()
        with pytest.raises(Undecodable):
            identified(data, syntax)
        assert time.process_time() - began < 5, title


@pytest.mark.security
def test_damage_anywhere_is_survived():
    chance = random.Random(14)
    began = time.process_time()
    for _ in range(4000):
        kind = chance.choice([kind for kind in odd.KINDS if "20,000" not in kind.title])
        raw = bytearray(kind.make(odd.new_object()))
        for _ in range(chance.randint(1, 6)):
            raw[chance.randrange(len(raw))] = chance.choice((0, 0xFF, chance.randrange(256)))
        data = bytes(raw[: chance.randint(1, len(raw))])
        with suppress(Undecodable):
            identified(data, kind.syntax)
    assert time.process_time() - began < 30
