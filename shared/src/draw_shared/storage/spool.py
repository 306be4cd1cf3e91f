"""The spool folders as outbox: what lies there is durable and still has to be announced.

Each running replica holds a lock on its own folder. Another replica that gets the lock of
a folder, and sees that nobody has touched it for a while, takes over what lies there: it
moves the entries to its own folder and lets go. The lock is of the kernel (flock) and
ends with its process; the time stamp, which the owner renews, protects folders on volumes
whose locks do not reach other hosts.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from draw_shared.errors import Transient
from draw_shared.storage.folder_sync import sync_folders
from draw_shared.storage.incoming import TIME_DIGITS

LOCK_NAME: Final = ".lock"
OBJECT: Final = ".dcm"
PART: Final = ".part"
SEGMENT: Final = ".jsonl"
OPEN_SEGMENT: Final = ".jsonl.open"
"""A piece of the transaction log, complete and being written."""
RESERVE: Final = ".reserve"
"""Room for pieces to come, all zeros; it stays when its owner ends, for the next start."""
OPEN_AHEAD: Final = ".jsonl.ahead"
RESERVE_AHEAD: Final = ".room"
"""The same for lines that are on disk before what they tell of happens."""
HEARTBEAT_TIMEOUT_SECONDS: Final = 30.0
POLL_INTERVAL_SECONDS: Final = 0.1


class SpoolTaken(Transient):
    """Another process with this replica's name is running."""


class SpoolLock:
    """The right to one spool folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self, *, wait_seconds: float) -> None:
        """Take the lock of one's own folder.

        Raises:
            SpoolTaken: somebody else keeps it.
        """
        deadline = time.monotonic() + wait_seconds
        while not self.try_acquire():
            if time.monotonic() > deadline:
                raise SpoolTaken(f"spool folder {self._folder.name} belongs to a running process")
            time.sleep(POLL_INTERVAL_SECONDS)
        self.beat()

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        except FileNotFoundError:
            # The folder was just removed by whoever took it over.
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = os.stat(self._path).st_ino == os.fstat(descriptor).st_ino  # noqa: PTH116
        except (BlockingIOError, FileNotFoundError):
            current = False
        if not current:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def beat(self) -> None:
        """Show that the owner lives."""
        if self._descriptor is not None:
            os.utime(self._descriptor)

    @property
    def silent_seconds(self) -> float:
        """How long ago the owner has shown that it lives."""
        try:
            return time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return float("inf")

    @property
    def descriptor(self) -> int:
        """What keeps the lock; a process that inherits it keeps the lock too.

        Raises:
            SpoolTaken: we do not have it.
        """
        if self._descriptor is None:
            raise SpoolTaken(f"spool folder {self._folder.name} is not ours")
        return self._descriptor

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def entries(folder: Path) -> list[str]:
    """Return the paths of what is left to announce, oldest first."""
    return sorted(e for e in _files(folder) if e.endswith(OBJECT))


def segments(folder: Path) -> list[str]:
    """Return the paths of the complete pieces of the transaction log, oldest first."""
    return sorted(e for e in _files(folder) if e.endswith(SEGMENT))


def backlog(folder: Path) -> tuple[int, float]:
    """Return how many entries are left to announce, and the age of the oldest in seconds."""
    names = [os.path.basename(e) for e in _files(folder) if e.endswith(OBJECT)]  # noqa: PTH119
    return len(names), max(0.0, time.time() - _made(min(names))) if names else 0.0


def _made(name: str) -> float:
    try:
        return int(name[:TIME_DIGITS], 16) / 1e6
    except ValueError:
        return 0.0


def _files(folder: Path) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        for entry in found:
            yield entry.path


def remove_parts(folder: Path, writer: str = "") -> int:
    """Remove what was never complete, and return how many; only for a folder whose lock is held.

    With a writer's name, only what this process began: it has ended.
    """
    parts = [path for path in _files(folder) if path.endswith(PART) and writer in path]
    for path in parts:
        Path(path).unlink(missing_ok=True)
    return len(parts)


def reserves(folder: Path, reserve: str = RESERVE) -> list[str]:
    """Return the paths of what is kept for the transaction log."""
    return sorted(e for e in _files(folder) if e.endswith(reserve))


def close_segments(folder: Path, open_segment: str = OPEN_SEGMENT) -> None:
    """Make the pieces of the transaction log that a crash left open complete; needs the lock."""
    for path in list(_files(folder)):
        if path.endswith(open_segment):
            Path(path).rename(path.removesuffix(open_segment) + SEGMENT)


def take_over(own: Path) -> int:
    """Move what dead replicas left behind to our own folder, and return how many files."""
    return sum(
        _taken(folder, own)
        for folder in sorted(own.parent.iterdir())
        if folder != own and folder.is_dir()
    )


def _taken(folder: Path, own: Path) -> int:
    lock = SpoolLock(folder)
    if lock.silent_seconds < HEARTBEAT_TIMEOUT_SECONDS or not lock.try_acquire():
        return 0
    try:
        remove_parts(folder)
        for open_segment in (OPEN_SEGMENT, OPEN_AHEAD):
            close_segments(folder, open_segment)
        for path in reserves(folder) + reserves(folder, RESERVE_AHEAD):
            Path(path).unlink(missing_ok=True)
        left = entries(folder) + segments(folder)
        for path in left:
            Path(path).rename(own / Path(path).name)
        # First the new names, then the loss of the old ones.
        sync_folders((str(own), str(folder)))
        with suppress(OSError):
            (folder / LOCK_NAME).unlink()
            folder.rmdir()
    finally:
        lock.release()
    return len(left)
