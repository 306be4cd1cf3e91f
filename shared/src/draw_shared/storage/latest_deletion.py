"""The moment of the latest deletion, kept by the storage volume: a clock that never goes back.

An empty file has it as its time of modification. A deletion takes a moment that is later, and
raises the file to it before its tombstone is committed. A receiver looks at it once all bytes
of an object are written, and dates the object's file with it if the volume's clock says less.
So what is received after a deletion is never older than that, whatever becomes of clocks.
"""

import os
from pathlib import Path
from typing import Final

from draw_shared.storage import layout

STEPS_NS: Final = (1_000_000, 1_000_000_000)
"""A millisecond, for claims move files by a microsecond; a second where times are as coarse."""


class LatestDeletion:
    """The moment, as every process with this storage root sees it."""

    def __init__(self, root: Path) -> None:
        self._path = str(root / layout.LATEST_DELETION)
        self._seen_ns = 0

    def make(self) -> None:
        """Make the file that keeps it, if there is none; a full disk has no room for it later."""
        os.close(self._kept())

    def moment_ns(self) -> int:
        """Return it in nanoseconds since 1970; 0 where none is kept."""
        try:
            # By opening it, an NFS client asks the server instead of its own cache.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)

    def date(self, path: str) -> int:
        """Have a file that was just received be no older than the latest deletion, durably.

        Return its time of modification, in nanoseconds.

        Raises:
            OSError: it is not.
        """
        # The file may have been lost since it was looked at, or restored from an older backup.
        latest = self._seen_ns = max(self._seen_ns, self.moment_ns())
        dated: int = os.stat(path).st_mtime_ns  # noqa: PTH116 - thousands a second
        if dated >= latest:
            return dated
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.utime(descriptor, ns=(latest, latest))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return latest

    def follow(self, clock_ns: int) -> int:
        """Raise it to what the clock says, or by a little if that is no later, and return it.

        Only for whoever has the index's turn: two at once could lower it.

        Raises:
            OSError: it is not durable.
        """
        descriptor = self._kept()
        try:
            latest = os.fstat(descriptor).st_mtime_ns
            return _raised(descriptor, max(clock_ns, latest + STEPS_NS[0]))
        finally:
            os.close(descriptor)

    def raise_to(self, moment_ns: int) -> None:
        """Raise it to this moment, unless it is as late already; in the index's turn too.

        Raises:
            OSError: it is not durable.
        """
        if self.moment_ns() >= moment_ns:
            return
        descriptor = self._kept()
        try:
            _raised(descriptor, moment_ns)
        finally:
            os.close(descriptor)

    def _kept(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _raised(descriptor: int, moment_ns: int) -> int:
    """Set a file's time to this moment, or the next that the volume can keep; return that."""
    kept = 0
    for step in (0, *STEPS_NS):
        os.utime(descriptor, ns=(moment_ns + step, moment_ns + step))
        kept = os.fstat(descriptor).st_mtime_ns
        if kept >= moment_ns:
            break
    os.fsync(descriptor)
    return kept
