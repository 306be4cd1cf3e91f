"""Removes the files of deleted objects and second copies, and nothing that came in their place.

A transaction of the index records which file is meant: its path, inode and time of
modification. Here the file is renamed out of the way, looked at once more, and only then
unlinked. A receiver that finds the same bytes at the path touches the file and looks then
whether it is still there (`ObjectStore`): either it sees that the file has gone and files
its own, or the touch is seen here and the file goes back.
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
    """Which file was meant when it was decided that it goes."""

    inode: int
    modified_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file holds, from its first byte to its last."""

    mark: FileMark
    sop_instance_uid: str
    content_sha256: str
    """Of the data set; empty when the file is none of an object."""


class Removed(StrEnum):
    """What became of a file that was to go."""

    GONE = "gone"
    KEPT = "kept"
    """Another file has come in its place, or it is wanted again."""


class OutsideStorage(Permanent):
    """A path that is not below `objects/` or `conflicts/`."""


class StorageFiles:
    """The files of objects below one storage root, as those see them who may remove them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._latest = LatestDeletion(root)

    def mark(self, path: str) -> FileMark | None:
        """Return which file lies at a stored path now, or None when there is none.

        Raises:
            OutsideStorage: the path is none of an object.
        """
        try:
            found = os.stat(self._inside(path), follow_symlinks=False)  # noqa: PTH116 - thousands
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _mark_of(found)

    def last_wanted(self, paths: Iterable[str]) -> float:
        """Return when the last of these files was received or received again (Unix time)."""
        return max((self.wanted_ns(path) for path in paths), default=0) / 1e9

    def wanted_ns(self, path: str) -> int:
        """Return when a file was received or received again, in nanoseconds; 0 without it.

        Raises:
            OutsideStorage: the path is none of an object.
        """
        try:
            found = os.stat(self._inside(path), follow_symlinks=False)  # noqa: PTH116 - as above
        except (FileNotFoundError, NotADirectoryError):
            return 0
        return received_ns(found)

    def moment(self, given_ns: int | None = None) -> int:
        """Return the moment of a deletion in nanoseconds: now, by the volume's clock, or given.

        What was written before now is older. Whatever the clock says then, nothing is older
        that is received after this call. Only for whoever has the index's turn.

        Raises:
            OSError: that is not durable.
        """
        if given_ns is not None:
            self._latest.raise_to(given_ns)
            return given_ns
        # The clock of files stands still for some milliseconds: wait for its next tick.
        first = latest = self._clock()
        deadline = time.monotonic() + CLOCK_TIMEOUT_SECONDS
        while latest <= first and time.monotonic() < deadline:
            time.sleep(CLOCK_POLL_INTERVAL_SECONDS)
            latest = self._clock()
        return self._latest.follow(latest)

    def _clock(self) -> int:
        # A full disk has no room for a file to touch, and a study has to go all the same.
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Without times given, whoever keeps the volume says which.
            os.utime(descriptor)
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)

    def renew(self, path: str, modified_ns: int) -> None:
        """Say that a file was wanted at this time, if it was not later."""
        mark = self.mark(path)
        if mark is not None and mark.modified_ns < modified_ns:
            with suppress(FileNotFoundError):
                os.utime(self._inside(path), ns=(modified_ns, modified_ns), follow_symlinks=False)

    def content(self, path: str) -> FileContent | None:
        """Read a whole file and return what it holds, or None when there is none.

        Raises:
            OutsideStorage: the path is none of an object.
            OSError: it cannot be read now.
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
        """Return which SOP instance a file says it holds; empty when it is damaged or gone.

        Raises:
            OutsideStorage: the path is none of an object.
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
        """Remove the file that was meant; whatever else lies there stays.

        `may_go` is asked while the file is out of the way, so that nobody can take the file
        itself for the one that makes it superfluous. Doing it again after a crash ends the
        same.

        Raises:
            OutsideStorage: the path is none of an object.
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
        """Return whether an interrupted removal has left this file out of the way."""
        return self._aside(meant).exists()

    def put_back(self, path: str, meant: FileMark) -> None:
        """Give a file that lies aside a name again: its own, or its refuge when that is taken.

        Raises:
            OutsideStorage: the path is none of an object.
        """
        place, aside = self._inside(path), self._aside(meant)
        if aside.exists():
            self._return(aside, place, meant)

    def whereabouts(self, path: str, meant: FileMark) -> tuple[str, FileMark] | None:
        """Return where a file that was meant lies now and since when it is wanted, or None.

        Raises:
            OutsideStorage: the path is none of an object.
        """
        for name in (path, self.refuge(meant)):
            mark = self.mark(name)
            if mark is not None and mark.inode == meant.inode:
                return name, mark
        return None

    def refuge(self, meant: FileMark) -> str:
        """Return the path of a file that stays, and whose own name was taken meanwhile."""
        return f"{layout.CONFLICTS}/{meant.inode:x}-{meant.modified_ns:x}.dcm"

    def tidy(self, paths: Iterable[str]) -> None:
        """Remove the folders that these files leave empty, and make their absence durable."""
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
        """Give a file a name again: its own, if nobody has taken that meanwhile."""
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
                # Not empty, or a receiver has just made it anew.
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
    """Return when a file was received or received again, in nanoseconds since 1970."""
    # Its time may be that of a deletion, later than any clock; a restored file's change is new.
    return min(status.st_mtime_ns, status.st_ctime_ns)


def _is(found: FileMark, meant: FileMark) -> bool:
    return (found.inode, found.modified_ns) == (meant.inode, meant.modified_ns)
