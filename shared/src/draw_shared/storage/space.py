"""How much room is left: the quota, the watermark and the disk itself.

`room` decides for everybody: the receivers, which refuse, and the API, which says so. What is
used is counted by walking the folders now and then, and between walks by adding what this
process stored and subtracting what it is told was removed. A walk takes at most a twentieth of
the time, whatever it costs.
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

FREE_SPACE_MAX_AGE_SECONDS: Final = 0.25
"""How long the free space of the disk is believed."""
WALK_INTERVAL_SECONDS: Final = 60.0
WALK_SHARE: Final = 20
MIN_ROOM_BYTES: Final = 2**20
"""With less room no object is begun: nearly none would fit."""
MIN_ROOM_SHARE: Final = 100
"""On a small disk, or with a small quota, this part of it is enough."""
MIN_FREE_INODES: Final = 16
"""A file and the folders above it, for some associations at once."""


class SpaceShortage(StrEnum):
    """Why no object is taken."""

    QUOTA = "quota"
    DISK = "disk"
    INODES = "inodes"


REASONS: Final = {
    SpaceShortage.QUOTA: "storage limit reached: the quota is used up",
    SpaceShortage.DISK: "storage limit reached: the disk has too little space left",
    SpaceShortage.INODES: "storage limit reached: the disk has no inodes left for files",
}


@dataclass(frozen=True, slots=True)
class SpaceLimits:
    """What the operator allows."""

    most_bytes: int | None
    """Quota for all objects; None: there is none."""
    min_free_percent: int
    """Part of the disk that must stay free."""

    @classmethod
    def configured(cls, max_storage_gb: int, min_free_percent: int) -> "SpaceLimits":
        """Return what settings mean; a quota of 0 GB is none."""
        return cls(max_storage_gb * BYTES_PER_GB or None, min_free_percent)

    def kept_bytes(self, disk: "DiskRoom") -> int:
        """Return how much of a disk must stay free."""
        return -(-disk.total_bytes * self.min_free_percent // 100)


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """What the file system of the storage has left for us."""

    total_bytes: int
    free_bytes: int
    """Without what is reserved for root."""
    total_inodes: int = 0
    """0: it has no fixed number of them."""
    free_inodes: int = 0


def disk_room(root: Path) -> DiskRoom:
    """Return what is left on the disk of `root`.

    Raises:
        OSError: it cannot be seen from here.
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
    """What is left for objects, by each limit."""

    quota_bytes: int | None
    """None: there is no quota."""
    disk_bytes: int | None
    """Above what has to stay free; None: the disk cannot be seen."""
    min_quota_bytes: int
    min_disk_bytes: int
    out_of_inodes: bool

    @property
    def shortage(self) -> SpaceShortage | None:
        """Why no object is begun now, or None."""
        if self.quota_bytes is not None and self.quota_bytes < self.min_quota_bytes:
            return SpaceShortage.QUOTA
        if self.disk_bytes is not None and self.disk_bytes < self.min_disk_bytes:
            return SpaceShortage.DISK
        return SpaceShortage.INODES if self.out_of_inodes else None

    def by_limit(self) -> dict[SpaceShortage, int]:
        """Return the bytes that are left, by what ends them."""
        left = {SpaceShortage.QUOTA: self.quota_bytes, SpaceShortage.DISK: self.disk_bytes}
        return {limit: bytes_left for limit, bytes_left in left.items() if bytes_left is not None}

    def shortage_for(self, size: int, written: int) -> SpaceShortage | None:
        """Why an object of `size` bytes, of which the disk has `written`, does not fit, or None."""
        if self.quota_bytes is not None and self.quota_bytes < size:
            return SpaceShortage.QUOTA
        if self.disk_bytes is not None and self.disk_bytes < size - written:
            return SpaceShortage.DISK
        return None


def room(limits: SpaceLimits, used_bytes: int, disk: DiskRoom | None) -> RemainingSpace:
    """Return what is left when `used_bytes` are in objects and the disk is as given."""
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
        """Whether what is used was counted since the start."""

    @property
    def used_bytes(self) -> int:
        """Bytes in objects and conflicts, as far as known."""
        return max(0, self._used + self._added)

    @property
    def free_bytes(self) -> int:
        """Bytes that the disk still takes."""
        return self._current_disk().free_bytes

    def shortage(self, limits: SpaceLimits) -> SpaceShortage | None:
        """Return why no object is taken now, or None."""
        return room(limits, self.used_bytes, self._current_disk()).shortage

    def require(self, limits: SpaceLimits, size: int = 0, written: int = 0) -> None:
        """Return when an object of `size` bytes, of which the disk has `written`, may come in.

        Raises:
            NoSpace: the quota or the watermark does not allow it.
        """
        if written:
            # What was seen before may count none of them, or only some.
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

    def told(self, used_bytes: int) -> None:
        """Take what is used from a process that looks for us."""
        with self._lock:
            self._used, self._added = used_bytes, 0

    def measure(self) -> None:
        """Count what is used by looking, when it is time to look again."""
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
            # What came during the walk may be counted twice until the next one, and what went may
            # be counted still: the safe side.
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
    """Yield the sizes of all files below `folder`; what vanishes meanwhile does not count."""
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
