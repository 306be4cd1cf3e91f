"""Names are safe, distinct and predictable in every structure and naming.

Not covered here: what happens on disk when names collide (test_objects).
"""

import re
from datetime import UTC, datetime
from itertools import islice, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.storage.layout import ObjectIdentity, candidates, folder, safe_part

WHO = ObjectIdentity("P 1", "1.2.3", "1.2.3.4", "1.2.3.4.5", 7)
WHEN = datetime(2026, 1, 2, 19, 30, 0, 123456, tzinfo=UTC)
DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (StorageStructure.FLAT, "objects"),
        (StorageStructure.STUDY, "objects/1.2.3"),
        (StorageStructure.PATIENT, f"objects/{safe_part('P 1')}"),
        (StorageStructure.SERIES, f"objects/{safe_part('P 1')}/1.2.3/1.2.3.4"),
        (StorageStructure.DATE, "objects/2026/01/02"),
    ],
)
def test_structures(structure, expected):
    assert folder(structure, WHO, WHEN) == expected


@pytest.mark.parametrize(
    ("naming", "expected"),
    [
        (FileNaming.SOP_UID, ["f/1.2.3.4.5.dcm", "conflicts/1.2.3.4.5-abababababab.dcm"]),
        (FileNaming.INSTANCE_NUMBER, ["f/0007.dcm", "f/0007_2.dcm", "f/0007_3.dcm"]),
        (FileNaming.TIMESTAMP, ["f/20260102_193000_123456.dcm", "f/20260102_193000_123456_2.dcm"]),
        (FileNaming.SEQUENTIAL, ["f/000004.dcm", "f/000005.dcm"]),
    ],
)
def test_namings_and_what_follows_when_a_name_is_taken(naming, expected):
    found = candidates(naming, "f", WHO, WHEN, DIGEST, first=4)
    assert list(islice(found, len(expected))) == expected


def test_many_objects_with_one_number_do_not_try_all_names():
    found = list(candidates(FileNaming.INSTANCE_NUMBER, "f", WHO, WHEN, DIGEST))
    other = list(candidates(FileNaming.INSTANCE_NUMBER, "f", WHO, WHEN, "cd" * 32))
    assert len(found) <= 12
    assert found[-1] != other[-1]


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "../../etc/passwd", "a/b", "a\\b", "\0", "ä", "x" * 65, ".hidden", "a.dcm"],
)
def test_a_changed_part_says_so_with_a_hash(text):
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*-[0-9a-f]{10}", safe_part(text))


@given(st.text(max_size=100))
def test_parts_are_always_safe(text):
    part = safe_part(text)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", part)
    assert not part.startswith(".")


@given(st.text(max_size=80), st.text(max_size=80))
def test_two_patients_never_share_a_folder(one, other):
    assert one == other or safe_part(one) != safe_part(other)


@given(st.text(max_size=80), st.text(max_size=80))
def test_every_path_stays_below_its_folder(patient, uid):
    who = ObjectIdentity(patient, uid, uid, uid, None)
    for structure, naming in product(StorageStructure, FileNaming):
        place = folder(structure, who, WHEN)
        for path in islice(candidates(naming, place, who, WHEN, DIGEST), 3):
            assert path.startswith(("objects/", "conflicts/"))
            assert ".." not in path.split("/")
