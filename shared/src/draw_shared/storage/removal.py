"""Removes the files of deleted objects and of second copies, but never a file that replaced them.

A transaction of the index records the file to remove: its path, inode and modification time.
The removal renames that file out of the way, checks it again and only then unlinks it. A
receiver that finds the same bytes at the path touches the file and then checks that it still
exists (`ObjectStore`). So either the receiver sees that the file is gone and files its own, or
the removal sees the touch and puts the file back.
"""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.errors import Permanent
from draw_shared.storage import layout
from draw_shared.storage.folder_sync import sync_folders
from draw_shared.storage.latest_deletion import LatestDeletion
from draw_shared.storage.objects import hash_rest

CLOCK_POLL_INTERVAL_SECONDS: Final = 0.001
CLOCK_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class FileMark:
    """Identifies the file that was chosen for removal."""

    inode: int
    modified_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileContent:
    """The result of reading a whole file."""

    mark: FileMark
    sop_instance_uid: str
    content_sha256: str
    """Hash of the data set; empty when the file is not a DICOM object."""


class Removed(StrEnum):
    """The outcome of a removal."""

    GONE = "gone"
    KEPT = "kept"
    """Another file has replaced it, or it was received again."""


class OutsideStorage(Permanent):
    """A path is not below `objects/` or `conflicts/`."""


class StorageFiles:
    """Inspects and removes the files of objects below one storage root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._latest = LatestDeletion(root)

    def mark(self, path: str) -> FileMark | None:
        """Return the mark of the file that is at a stored path now, or None without a file.

        Raises:
            OutsideStorage: this is not an object's path.
        """
        try:
            found = os.stat(self._inside(path), follow_symlinks=False)  # noqa: PTH116 - thousands
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _mark_of(found)

    def last_wanted(self, paths: Iterable[str]) -> float:
        """Return the latest time at which one of these files was received (Unix time)."""
        return max((self.wanted_ns(path) for path in paths), default=0) / 1e9

    def wanted_ns(self, path: str) -> int:
        """Return when a file was last received, in nanoseconds; 0 without a file.

        Raises:
            OutsideStorage: this is not an object's path.
        """
        try:
            found = os.stat(self._inside(path), follow_symlinks=False)  # noqa: PTH116 - as above
        except (FileNotFoundError, NotADirectoryError):
            return 0
        return received_ns(found)

    def moment(self, given_ns: int | None = None) -> int:
        """Return the time of a deletion in nanoseconds: now, by the volume's clock, or as given.

        Files written before the call are older. Files received after the call are never older,
        even if the clock is set back. The caller holds the index's turn.

        Raises:
            OSError: the time is not durable.
        """
        if given_ns is not None:
            self._latest.raise_to(given_ns)
            return given_ns
        # File times advance in steps of some milliseconds: wait for the next step.
        first = latest = self._clock()
        deadline = time.monotonic() + CLOCK_TIMEOUT_SECONDS
        while latest <= first and time.monotonic() < deadline:
            time.sleep(CLOCK_POLL_INTERVAL_SECONDS)
            latest = self._clock()
        return self._latest.follow(latest)

    def _clock(self) -> int:
        # A full disk has no room for a new file to touch, but deletions must still work.
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Without explicit times, the host of the volume sets them.
            os.utime(descriptor)
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)

    def renew(self, path: str, modified_ns: int) -> None:
        """Raise the modification time of a file to this one, unless it is later already."""
        mark = self.mark(path)
        if mark is not None and mark.modified_ns < modified_ns:
            with suppress(FileNotFoundError):
                os.utime(self._inside(path), ns=(modified_ns, modified_ns), follow_symlinks=False)

    def content(self, path: str) -> FileContent | None:
        """Read a whole file and return its content summary, or None without a file.

        Raises:
            OutsideStorage: this is not an object's path.
            OSError: the file cannot be read now.
        """
        try:
            with self._inside(path).open("rb") as file:
                mark = _mark_of(os.fstat(file.fileno()))
                try:
                    meta, offset = part10.decode(file.read(part10.MAX_META_BYTES))
                except Undecodable:
                    return FileContent(mark, "", "")
                file.seek(offset)
                return FileContent(mark, meta.sop_instance_uid, hash_rest(file.read))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def instance(self, path: str) -> str:
        """Return the SOP Instance UID in a file; empty when the file is damaged or missing.

        Raises:
            OutsideStorage: this is not an object's path.
        """
        try:
            with self._inside(path).open("rb") as file:
                return part10.decode(file.read(part10.MAX_META_BYTES))[0].sop_instance_uid
        except (FileNotFoundError, NotADirectoryError, Undecodable):
            return ""

    def remove(
        self,
        path: str,
        meant: FileMark,
        sop_instance_uid: str,
        may_go: Callable[[], bool] = lambda: True,
    ) -> Removed:
        """Remove the file that was chosen; any other file at the path stays.

        `may_go` is called while the file is out of the way, so that it cannot mistake the file
        itself for the other copy. Repeating the call after a crash gives the same result.

        Raises:
            OutsideStorage: this is not an object's path.
        """
        place = self._inside(path)
        aside = self._aside(meant)
        interrupted = aside.exists()
        if interrupted and self._finished(aside, place, meant, may_go) is Removed.KEPT:
            return Removed.KEPT
        found = self.mark(path)
        if found is None or (interrupted and not _is(found, meant)):
            return Removed.GONE
        if not _is(found, meant) or self.instance(path) not in {sop_instance_uid, ""}:
            return Removed.KEPT
        if not may_go():
            return Removed.KEPT
        aside.parent.mkdir(exist_ok=True)
        place.rename(aside)
        return self._finished(aside, place, meant, may_go)

    def lies_aside(self, meant: FileMark) -> bool:
        """Return whether an interrupted removal has left this file in the trash folder."""
        return self._aside(meant).exists()

    def put_back(self, path: str, meant: FileMark) -> None:
        """Move a file out of the trash: to its own name, or to its refuge if that is taken.

        Raises:
            OutsideStorage: this is not an object's path.
        """
        place, aside = self._inside(path), self._aside(meant)
        if aside.exists():
            self._return(aside, place, meant)

    def whereabouts(self, path: str, meant: FileMark) -> tuple[str, FileMark] | None:
        """Return the present path and mark of a chosen file, or None when it is gone.

        Raises:
            OutsideStorage: this is not an object's path.
        """
        for name in (path, self.refuge(meant)):
            mark = self.mark(name)
            if mark is not None and mark.inode == meant.inode:
                return name, mark
        return None

    def refuge(self, meant: FileMark) -> str:
        """Return the path for a file that stays although its own name has been taken."""
        return f"{layout.CONFLICTS}/{meant.inode:x}-{meant.modified_ns:x}.dcm"

    def tidy(self, paths: Iterable[str]) -> None:
        """Remove the folders that these files left empty and make the removals durable."""
        folders = {path.rpartition("/")[0] for path in paths}
        sync_folders(str(self._root / folder) for folder in folders)
        for folder in sorted(folders, key=len, reverse=True):
            self._prune(folder)

    def _finished(
        self, aside: Path, place: Path, meant: FileMark, may_go: Callable[[], bool]
    ) -> Removed:
        if _is(_mark_of(aside.stat(follow_symlinks=False)), meant) and may_go():
            aside.unlink()
            return Removed.GONE
        self._return(aside, place, meant)
        return Removed.KEPT

    def _return(self, aside: Path, place: Path, meant: FileMark) -> None:
        place = self._returned(aside, place, self._root / self.refuge(meant))
        sync_folders((str(place.parent),))
        aside.unlink()

    def _aside(self, meant: FileMark) -> Path:
        return self._root / layout.TRASH / f"{meant.inode:x}-{meant.modified_ns:x}"

    def _returned(self, aside: Path, place: Path, refuge: Path) -> Path:
        """Link a file to its own name again, or to its refuge if the name has been taken."""
        for name in (place, refuge):
            name.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(aside, name)
            except FileExistsError:
                if not name.samefile(aside):
                    continue
            return name
        raise FileExistsError("no free name")

    def _prune(self, folder: str) -> None:
        while folder.count("/"):
            try:
                (self._root / folder).rmdir()
            except OSError:
                # The folder is not empty, or a receiver has just created it again.
                return
            folder = folder.rpartition("/")[0]

    def _inside(self, path: str) -> Path:
        parts = path.split("/")
        if parts[0] not in {layout.OBJECTS, layout.CONFLICTS} or ".." in parts or "\0" in path:
            raise OutsideStorage("a path that is none of an object")
        return self._root / path


def _mark_of(status: os.stat_result) -> FileMark:
    return FileMark(status.st_ino, status.st_mtime_ns, status.st_size)


def received_ns(status: os.stat_result) -> int:
    """Return when a file was last received, in nanoseconds since 1970."""
    # mtime may be a deletion's time, ahead of the clock; ctime of a restored file is new.
    return min(status.st_mtime_ns, status.st_ctime_ns)


def _is(found: FileMark, meant: FileMark) -> bool:
    return (found.inode, found.modified_ns) == (meant.inode, meant.modified_ns)
