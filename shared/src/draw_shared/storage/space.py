"""How much room is left: the quota, the watermark and the disk itself.

What is used is counted by walking the folders now and then, and between walks by adding
what this process stored. A walk takes at most a twentieth of the time, whatever it costs.
"""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from draw_shared.storage import layout
from draw_shared.storage.incoming import NoSpace

FREE_SECONDS: Final = 0.25
"""How long the free space of the disk is believed."""
UNSEEN: Final = (0.0, 0, 1)
WALK_SECONDS: Final = 60.0
WALK_SHARE: Final = 20


@dataclass(frozen=True, slots=True)
class SpaceLimits:
    """What the operator allows."""

    most_bytes: int
    """Quota for all objects."""
    min_free_percent: int
    """Part of the disk that must stay free."""


class Space:
    """The room below one storage root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._used = 0
        self._added = 0
        self._free = UNSEEN
        self._next_walk = 0.0

    @property
    def used_bytes(self) -> int:
        """Bytes in objects and conflicts, as far as known."""
        return self._used + self._added

    @property
    def free_bytes(self) -> int:
        """Bytes that the disk still takes."""
        return self._disk()[0]

    def require(self, limits: SpaceLimits, size: int = 0, written: int = 0) -> None:
        """Return when an object of `size` bytes, of which the disk has `written`, may come in.

        Raises:
            NoSpace: the quota or the watermark does not allow it.
        """
        if self.used_bytes + size > limits.most_bytes:
            raise NoSpace("storage limit reached: the quota is used up")
        if written:
            # What was seen before may count none of them, or only some.
            self._free = UNSEEN
        free, total = self._disk()
        if (free - size + written) * 100 < total * limits.min_free_percent:
            raise NoSpace("storage limit reached: the disk has too little space left")

    def added(self, size: int) -> None:
        """Count an object that was stored."""
        with self._lock:
            self._added += size

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
        used = sum(
            size
            for folder in (layout.OBJECTS, layout.CONFLICTS)
            for size in _sizes(str(self._root / folder))
        )
        with self._lock:
            self._used = used
            # What came during the walk may be counted twice until the next one: the safe side.
            self._added -= before
        took = time.monotonic() - begun
        self._next_walk = time.monotonic() + max(WALK_SECONDS, took * WALK_SHARE)

    def _disk(self) -> tuple[int, int]:
        seen, free, total = self._free
        now = time.monotonic()
        if now - seen > FREE_SECONDS:
            found = os.statvfs(self._root)
            free, total = found.f_bavail * found.f_frsize, max(1, found.f_blocks * found.f_frsize)
            self._free = (now, free, total)
        return free, total


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
