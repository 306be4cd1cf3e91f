"""The time of the latest deletion, kept on the storage volume: a clock that never goes back.

It is the modification time of an empty file. A deletion takes a later time and raises the file
to it before it commits its tombstone. A receiver reads the time once all bytes of an object are
written, and dates the object's file with it if the volume's clock shows an earlier time. An
object received after a deletion is therefore never older than the deletion, even if a clock is
set back.
"""

import os
from pathlib import Path
from typing import Final

from draw_shared.storage import layout

STEPS_NS: Final = (1_000_000, 1_000_000_000)
"""A millisecond, because claims move times by a microsecond; a second for coarse file times."""


class LatestDeletion:
    """The time of the latest deletion, shared by all processes with this storage root."""

    def __init__(self, root: Path) -> None:
        self._path = str(root / layout.LATEST_DELETION)
        self._seen_ns = 0

    def make(self) -> None:
        """Create the file if it is missing; a full disk would have no room for it later."""
        os.close(self._kept())

    def moment_ns(self) -> int:
        """Return the time in nanoseconds since 1970; 0 if the file is missing."""
        try:
            # Opening the file makes an NFS client ask the server instead of its own cache.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)

    def date(self, path: str) -> int:
        """Date a received file no earlier than the latest deletion, durably.

        Return the file's modification time in nanoseconds.

        Raises:
            OSError: the time was not set durably.
        """
        # The file of the latest deletion may have been lost or restored from an older backup.
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
        """Raise the time to that of the clock, or by one step if it is later; return it.

        The caller holds the index's turn: two callers at once could lower the time.

        Raises:
            OSError: the time is not durable.
        """
        descriptor = self._kept()
        try:
            latest = os.fstat(descriptor).st_mtime_ns
            return _raise_time(descriptor, max(clock_ns, latest + STEPS_NS[0]))
        finally:
            os.close(descriptor)

    def raise_to(self, moment_ns: int) -> None:
        """Raise the time to this one, unless it is later already; needs the index's turn too.

        Raises:
            OSError: the time is not durable.
        """
        if self.moment_ns() >= moment_ns:
            return
        descriptor = self._kept()
        try:
            _raise_time(descriptor, moment_ns)
        finally:
            os.close(descriptor)

    def _kept(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _raise_time(descriptor: int, moment_ns: int) -> int:
    """Set a file's time to this one, or the next that the volume can store; return it."""
    kept = 0
    for step in (0, *STEPS_NS):
        os.utime(descriptor, ns=(moment_ns + step, moment_ns + step))
        kept = os.fstat(descriptor).st_mtime_ns
        if kept >= moment_ns:
            break
    os.fsync(descriptor)
    return kept
