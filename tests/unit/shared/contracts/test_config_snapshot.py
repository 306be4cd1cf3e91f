"""The configuration as a file of the storage volume keeps it."""

import hashlib
import json

import pytest

from draw_shared.contracts.config_snapshot import (
    AllowedPeer,
    ConfigSnapshot,
    SnapshotDamaged,
    decode_snapshot,
)
from draw_shared.contracts.server_config import EVERYTHING

SNAPSHOT = ConfigSnapshot(
    7,
    EVERYTHING.model_dump(mode="json"),
    (AllowedPeer("CT1", "192.0.2.1"), AllowedPeer("MR")),
    "1.2.3",
)


def signed(**content):
    """Return a file with this content and the hash that belongs to it."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}).encode()


def content(**other):
    held = json.loads(SNAPSHOT.encode())
    del held["sha256"]
    return held | other


def test_what_is_written_is_read_with_the_release_that_wrote_it():
    read = decode_snapshot(SNAPSHOT.encode())
    assert read == SNAPSHOT
    assert read.release == "1.2.3"


def test_half_a_file_is_damaged_wherever_it_ends():
    whole = SNAPSHOT.encode().rstrip()
    for length in range(0, len(whole), 7):
        with pytest.raises(SnapshotDamaged):
            decode_snapshot(whole[:length])


def test_a_changed_bit_is_noticed_wherever_it_is():
    whole = SNAPSHOT.encode().rstrip()
    for at in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[at] ^= 0x02
        try:
            read = decode_snapshot(bytes(changed))
        except SnapshotDamaged:
            continue
        # White space between values means nothing.
        assert read == SNAPSHOT


def test_what_a_later_release_adds_beside_is_no_damage():
    later = content(written_for="everybody")
    later["document"]["security"]["quarantine"] = True
    read = decode_snapshot(signed(**later))
    assert read.version == 7
    assert read.document["security"]["quarantine"] is True


@pytest.mark.parametrize(
    "other",
    [
        {"format": 2},
        {"version": 0},
        {"version": "7"},
        {"allowed": [{"expected_ip": ""}]},
        {"document": []},
    ],
)
def test_what_is_of_another_form_is_no_snapshot(other):
    with pytest.raises(SnapshotDamaged, match="form"):
        decode_snapshot(signed(**content(**other)))


@pytest.mark.parametrize("raw", [b"", b"\0" * 4096, b"[]", b"7", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_object_is_no_snapshot(raw):
    with pytest.raises(SnapshotDamaged):
        decode_snapshot(raw)
