"""The spool folders as outbox: their entries are durable and still have to be announced.

Each running replica holds a lock on its own folder, `spool/<replica>`. When a replica dies, its
entries stay on disk. Every other replica regularly tries the locks of the other folders
(`take_over`); the one that gets the lock of a silent folder moves the entries into its own folder.

Two signs protect a living owner, and both must be absent. The kernel releases the lock (flock)
when the owner and every child that inherited it have ended. The owner also renews the time stamp
of the lock file, which protects folders on volumes whose locks do not reach other hosts. A dead
replica loses only its `.part` files, which were never acknowledged.
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
"""A piece of the transaction log: complete, and still being written."""
RESERVE: Final = ".reserve"
"""Preallocated room for later pieces, all zeros; it stays for the owner's next start."""
OPEN_AHEAD: Final = ".jsonl.ahead"
RESERVE_AHEAD: Final = ".room"
"""The same for lines that must be on disk before the action they report begins."""
HEARTBEAT_TIMEOUT_SECONDS: Final = 30.0
POLL_INTERVAL_SECONDS: Final = 0.1


class SpoolTaken(Transient):
    """Another process with this replica's name is running."""


class SpoolLock:
    """The lock of one spool folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self, *, wait_seconds: float) -> None:
        """Take the lock, waiting at most `wait_seconds`.

        Raises:
            SpoolTaken: another process holds it.
        """
        deadline = time.monotonic() + wait_seconds
        while not self.try_acquire():
            if time.monotonic() > deadline:
                raise SpoolTaken(f"spool folder {self._folder.name} belongs to a running process")
            time.sleep(POLL_INTERVAL_SECONDS)
        self.beat()

    def try_acquire(self) -> bool:
        """Take the lock if it is free and return whether it is ours now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        except FileNotFoundError:
            # Another replica has just taken the folder over and removed it.
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
        """Renew the time stamp that shows that the owner is alive."""
        if self._descriptor is not None:
            os.utime(self._descriptor)

    @property
    def silent_seconds(self) -> float:
        """How long ago the owner last renewed its time stamp."""
        try:
            return time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return float("inf")

    @property
    def descriptor(self) -> int:
        """The descriptor that holds the lock; a child that inherits it holds the lock too.

        Raises:
            SpoolTaken: this process does not hold the lock.
        """
        if self._descriptor is None:
            raise SpoolTaken(f"spool folder {self._folder.name} is not ours")
        return self._descriptor

    def release(self) -> None:
        """Release the lock if this process holds it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def entries(folder: Path) -> list[str]:
    """Return the paths of the entries left to announce, oldest first."""
    return sorted(e for e in _files(folder) if e.endswith(OBJECT))


def entry_name(entry: str) -> str:
    """Return the name of an entry, which it keeps when another replica takes it over."""
    return os.path.basename(entry)  # noqa: PTH119 - a name


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
    """Remove incomplete files and return their number; the caller holds the folder's lock.

    With a writer's name, remove only the files of that process, which has ended.
    """
    parts = [path for path in _files(folder) if path.endswith(PART) and writer in path]
    for path in parts:
        Path(path).unlink(missing_ok=True)
    return len(parts)


def reserves(folder: Path, reserve: str = RESERVE) -> list[str]:
    """Return the paths of the room preallocated for the transaction log."""
    return sorted(e for e in _files(folder) if e.endswith(reserve))


def close_segments(folder: Path, open_segment: str = OPEN_SEGMENT) -> None:
    """Close the log pieces that a crash left open; the caller holds the folder's lock."""
    for path in list(_files(folder)):
        if path.endswith(open_segment):
            Path(path).rename(path.removesuffix(open_segment) + SEGMENT)


def take_over(own: Path) -> int:
    """Move the files of dead replicas into our own folder and return their number."""
    return sum(
        _take_over_one(folder, own)
        for folder in sorted(own.parent.iterdir())
        if folder != own and folder.is_dir()
    )


def _take_over_one(folder: Path, own: Path) -> int:
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
        # Sync the new names before the removal of the old ones.
        sync_folders((str(own), str(folder)))
        with suppress(OSError):
            (folder / LOCK_NAME).unlink()
            folder.rmdir()
    finally:
        lock.release()
    return len(left)
