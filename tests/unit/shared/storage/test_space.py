"""One decision on room for the receivers, which refuse, and the API, which says so."""

import os

import pytest

from draw_shared.storage.incoming import NoSpace
from draw_shared.storage.space import DiskRoom, Space, SpaceLimits, SpaceShortage, room

GB = 10**9
MB = 10**6
QUOTA = SpaceLimits(100 * GB, 2)
DISK = DiskRoom(1000 * GB, 500 * GB, 1000, 500)


@pytest.mark.parametrize(
    ("used", "disk", "shortage"),
    [
        (0, DISK, None),
        (0, None, None),
        (100 * GB, DISK, SpaceShortage.QUOTA),
        (100 * GB - 5000, DISK, SpaceShortage.QUOTA),
        (100 * GB - 2 * MB, DISK, None),
        (100 * GB, None, SpaceShortage.QUOTA),
        (0, DiskRoom(1000 * GB, 19 * GB), SpaceShortage.DISK),
        (0, DiskRoom(1000 * GB, 20 * GB + 5000), SpaceShortage.DISK),
        (0, DiskRoom(1000 * GB, 20 * GB + 2 * MB), None),
        (0, DiskRoom(1000 * GB, 500 * GB, 1000, 0), SpaceShortage.INODES),
        (0, DiskRoom(1000 * GB, 500 * GB, 0, 0), None),
        (0, DiskRoom(4 * MB, 1 * MB), None),
    ],
)
def test_nothing_is_begun_that_hardly_fits(used, disk, shortage):
    assert room(QUOTA, used, disk).shortage is shortage


NO_QUOTA = SpaceLimits.configured(0, 2)


@pytest.mark.parametrize(
    ("disk", "shortage", "left"),
    [
        (DISK, None, {SpaceShortage.DISK: 480 * GB}),
        (None, None, {}),
        (DiskRoom(1000 * GB, 19 * GB), SpaceShortage.DISK, {SpaceShortage.DISK: -GB}),
        (
            DiskRoom(1000 * GB, 500 * GB, 1000, 0),
            SpaceShortage.INODES,
            {SpaceShortage.DISK: 480 * GB},
        ),
    ],
)
def test_without_a_quota_the_disk_alone_decides(disk, shortage, left):
    found = room(NO_QUOTA, 10**18, disk)
    assert found.shortage is shortage
    assert found.by_limit() == left
    assert found.shortage_for(GB, 0) is (None if shortage is not SpaceShortage.DISK else shortage)


def test_a_quota_is_in_gb():
    assert SpaceLimits.configured(20_000, 2).most_bytes == 20_000 * GB
    assert NO_QUOTA.most_bytes is None


def test_what_is_begun_needs_only_its_own_room():
    left = room(QUOTA, 100 * GB - 5000, DISK)
    assert left.shortage_for(5000, 0) is None
    assert left.shortage_for(5001, 0) is SpaceShortage.QUOTA
    left = room(QUOTA, 0, DiskRoom(1000 * GB, 20 * GB + 5000))
    assert left.shortage_for(5001, 1) is None
    assert left.shortage_for(5002, 1) is SpaceShortage.DISK


@pytest.fixture
def space(tmp_path):
    """A quota of 1 GB that one file has used up."""
    folder = tmp_path / "objects"
    folder.mkdir()
    with (folder / "1.dcm").open("wb") as file:
        os.truncate(file.fileno(), GB)
    space = Space(tmp_path)
    space.measure()
    return space


ONE_GB = SpaceLimits(GB, 0)


def test_what_was_removed_makes_room_at_once(space):
    with pytest.raises(NoSpace, match="quota"):
        space.require(ONE_GB)
    space.freed(GB // 2)
    space.require(ONE_GB)
    assert space.used_bytes == GB // 2
    space.freed(GB)
    assert space.used_bytes == 0, "also when more is said to have gone than was known"


def test_what_is_removed_while_it_counts_is_counted_again_soon(space, tmp_path, monkeypatch):
    space._next_walk = 0.0
    scanned = os.scandir

    def removing(path):
        if path == f"{tmp_path}/objects":
            space.freed(GB)
        return scanned(path)

    monkeypatch.setattr(os, "scandir", removing)
    space.measure()
    assert space.used_bytes == GB, "the file may have been seen before it was removed"
    monkeypatch.undo()
    (tmp_path / "objects" / "1.dcm").unlink()
    space._next_walk = min(space._next_walk, space._seen)
    space.measure()
    assert space.used_bytes == 0
