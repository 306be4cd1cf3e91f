"""How much room is left: the quota, the watermark and the disk itself.

`room` is the one rule: receivers refuse objects by it, and the API displays it. Walks through
the folders measure the used space. Between walks this process adds the sizes that it stores and
subtracts the sizes that it is told were removed. Walks take at most a twentieth of the time.
"""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from draw_shared.contracts.server_config import BYTES_PER_GB
from draw_shared.storage import layout
from draw_shared.storage.incoming import NoSpace
from draw_shared.wording import message

FREE_SPACE_MAX_AGE_SECONDS: Final = 0.25
"""How long a measured free space of the disk is used."""
WALK_INTERVAL_SECONDS: Final = 60.0
WALK_SHARE: Final = 20
MIN_ROOM_BYTES: Final = 2**20
"""With less room no object is accepted, because hardly any would fit."""
MIN_ROOM_SHARE: Final = 100
"""On a small disk, or with a small quota, one part in so many is enough."""
MIN_FREE_INODES: Final = 16
"""Enough for one file with its folders in several associations at once."""


class SpaceShortage(StrEnum):
    """Why no object is accepted."""

    QUOTA = "quota"
    DISK = "disk"
    INODES = "inodes"


REASONS: Final = {
    SpaceShortage.QUOTA: message("storage limit reached: the quota is used up"),
    SpaceShortage.DISK: message("storage limit reached: the disk has too little space left"),
    SpaceShortage.INODES: message("storage limit reached: the disk has no inodes left for files"),
}


@dataclass(frozen=True, slots=True)
class SpaceLimits:
    """The limits that the operator sets."""

    most_bytes: int | None
    """Quota for all objects; None means no quota."""
    min_free_percent: int
    """Part of the disk that must stay free."""

    @classmethod
    def configured(cls, max_storage_gb: int, min_free_percent: int) -> "SpaceLimits":
        """Return the limits of these settings; 0 GB means no quota."""
        return cls(max_storage_gb * BYTES_PER_GB or None, min_free_percent)

    def kept_bytes(self, disk: "DiskRoom") -> int:
        """Return how much of a disk must stay free."""
        return -(-disk.total_bytes * self.min_free_percent // 100)


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """The free space of the storage's file system."""

    total_bytes: int
    free_bytes: int
    """Without the blocks reserved for root."""
    total_inodes: int = 0
    """0: the file system has no fixed number of inodes."""
    free_inodes: int = 0


def disk_room(root: Path) -> DiskRoom:
    """Return the free space on the disk of `root`.

    Raises:
        OSError: the disk cannot be inspected.
    """
    found = os.statvfs(root)
    return DiskRoom(
        max(1, found.f_blocks * found.f_frsize),
        found.f_bavail * found.f_frsize,
        found.f_files,
        found.f_favail,
    )


@dataclass(frozen=True, slots=True)
class RemainingSpace:
    """The space left for objects under each limit."""

    quota_bytes: int | None
    """None means no quota."""
    disk_bytes: int | None
    """Beyond the part that must stay free; None: the disk cannot be inspected."""
    min_quota_bytes: int
    min_disk_bytes: int
    out_of_inodes: bool

    @property
    def shortage(self) -> SpaceShortage | None:
        """Why no object is accepted now, or None."""
        if self.quota_bytes is not None and self.quota_bytes < self.min_quota_bytes:
            return SpaceShortage.QUOTA
        if self.disk_bytes is not None and self.disk_bytes < self.min_disk_bytes:
            return SpaceShortage.DISK
        return SpaceShortage.INODES if self.out_of_inodes else None

    def by_limit(self) -> dict[SpaceShortage, int]:
        """Return the bytes left under each limit."""
        left = {SpaceShortage.QUOTA: self.quota_bytes, SpaceShortage.DISK: self.disk_bytes}
        return {limit: bytes_left for limit, bytes_left in left.items() if bytes_left is not None}

    def shortage_for(self, size: int, written: int) -> SpaceShortage | None:
        """Return why an object of `size` bytes with `written` on disk does not fit, or None."""
        if self.quota_bytes is not None and self.quota_bytes < size:
            return SpaceShortage.QUOTA
        if self.disk_bytes is not None and self.disk_bytes < size - written:
            return SpaceShortage.DISK
        return None


def room(limits: SpaceLimits, used_bytes: int, disk: DiskRoom | None) -> RemainingSpace:
    """Return the space left when objects use `used_bytes` of this disk."""
    total = disk.total_bytes if disk else 0
    quota = limits.most_bytes
    return RemainingSpace(
        quota_bytes=quota - used_bytes if quota is not None else None,
        disk_bytes=disk.free_bytes - limits.kept_bytes(disk) if disk else None,
        min_quota_bytes=min(MIN_ROOM_BYTES, (quota or 0) // MIN_ROOM_SHARE),
        min_disk_bytes=min(MIN_ROOM_BYTES, total // MIN_ROOM_SHARE),
        out_of_inodes=bool(disk and disk.total_inodes and disk.free_inodes < MIN_FREE_INODES),
    )


class Space:
    """The room below one storage root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._used = 0
        self._added = 0
        self._freed_in_walk = 0
        self._disk: DiskRoom | None = None
        self._seen = 0.0
        self._next_walk = 0.0
        self.counted = False
        """Whether the used space has been measured since the start."""

    @property
    def used_bytes(self) -> int:
        """Bytes in objects and conflicts, as last known."""
        return max(0, self._used + self._added)

    @property
    def free_bytes(self) -> int:
        """Free bytes on the disk."""
        return self._current_disk().free_bytes

    def shortage(self, limits: SpaceLimits) -> SpaceShortage | None:
        """Return why no object is accepted now, or None."""
        return room(limits, self.used_bytes, self._current_disk()).shortage

    def require(self, limits: SpaceLimits, size: int = 0, written: int = 0) -> None:
        """Return if there is room for an object of `size` bytes with `written` on disk.

        Raises:
            NoSpace: the quota or the watermark does not allow it.
        """
        if written:
            # An earlier measurement may include none or only some of them.
            self._disk = None
        found = room(limits, self.used_bytes, self._current_disk())
        shortage = found.shortage_for(size, written) if size else found.shortage
        if shortage is not None:
            raise NoSpace(REASONS[shortage])

    def added(self, size: int) -> None:
        """Count an object that was stored."""
        with self._lock:
            self._added += size

    def freed(self, size: int) -> None:
        """Count objects that were removed."""
        with self._lock:
            self._added -= size
            self._freed_in_walk += size

    def set_used(self, used_bytes: int) -> None:
        """Set the used space as another process has measured it."""
        with self._lock:
            self._used, self._added = used_bytes, 0

    def measure(self) -> None:
        """Measure the used space by a walk, if one is due."""
        begun = time.monotonic()
        if begun < self._next_walk:
            return
        with self._lock:
            before = self._added
            self._freed_in_walk = 0
        used = sum(
            size
            for folder in (layout.OBJECTS, layout.CONFLICTS)
            for size in _sizes(str(self._root / folder))
        )
        with self._lock:
            self._used = used
            # Until the next walk, files that came during this one may count twice, and removed
            # ones may still count: both err on the safe side.
            self._added += self._freed_in_walk - before
            again = bool(self._freed_in_walk)
            self.counted = True
        took = time.monotonic() - begun
        pause = max(0.0 if again else WALK_INTERVAL_SECONDS, took * WALK_SHARE)
        self._next_walk = time.monotonic() + pause

    def _current_disk(self) -> DiskRoom:
        disk, now = self._disk, time.monotonic()
        if disk is None or now - self._seen > FREE_SPACE_MAX_AGE_SECONDS:
            self._disk = disk = disk_room(self._root)
            self._seen = now
        return disk


def _sizes(folder: str) -> Iterator[int]:
    """Yield the sizes of all files below `folder`; files that vanish meanwhile do not count."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
