"""Removes the files of deleted objects, and nothing that came in their place.

The rows of an object go first, and the same transaction records which file is meant: its
path, inode and time of modification. Here the file is renamed out of the way, looked at
once more, and only then unlinked. A receiver that finds the same bytes at the path touches
the file and looks then whether it is still there (`ObjectStore`): either it sees that the
file has gone and files its own, or the touch is seen here and the file goes back.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from draw_shared.errors import Permanent
from draw_shared.storage import layout
from draw_shared.storage.folder_sync import sync_folders

TRASH: Final = "trash"
"""Folder below the storage root where a file lies between its name and nothing."""


@dataclass(frozen=True, slots=True)
class FileMark:
    """Which file was meant when it was decided that it goes."""

    inode: int
    modified_ns: int
    size_bytes: int


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

    def mark(self, path: str) -> FileMark | None:
        """Return which file lies at a stored path now, or None when there is none.

        Raises:
            OutsideStorage: the path is none of an object.
        """
        try:
            found = os.stat(self._inside(path), follow_symlinks=False)  # noqa: PTH116 - thousands
        except (FileNotFoundError, NotADirectoryError):
            return None
        return FileMark(found.st_ino, found.st_mtime_ns, found.st_size)

    def last_wanted(self, paths: Iterable[str]) -> float:
        """Return when the last of these files was received or received again (Unix time)."""
        marks = (self.mark(path) for path in paths)
        return max((mark.modified_ns / 1e9 for mark in marks if mark is not None), default=0.0)

    def remove(self, path: str, meant: FileMark) -> Removed:
        """Remove the file that was meant; whatever else lies there stays.

        Doing it again after a crash ends the same.

        Raises:
            OutsideStorage: the path is none of an object.
        """
        place = self._inside(path)
        aside = self._root / TRASH / f"{meant.inode:x}-{meant.modified_ns:x}"
        if not aside.exists():
            found = self.mark(path)
            if found is None:
                return Removed.GONE
            if not _is(found, meant):
                return Removed.KEPT
            aside.parent.mkdir(exist_ok=True)
            place.rename(aside)
        # Else a crash left it between both.
        return self._finished(aside, place, meant)

    def tidy(self, paths: Iterable[str]) -> None:
        """Remove the folders that these files leave empty, and make their absence durable."""
        folders = {path.rpartition("/")[0] for path in paths}
        sync_folders(str(self._root / folder) for folder in folders)
        for folder in sorted(folders, key=len, reverse=True):
            self._prune(folder)

    def _finished(self, aside: Path, place: Path, meant: FileMark) -> Removed:
        status = aside.stat(follow_symlinks=False)
        if _is(FileMark(status.st_ino, status.st_mtime_ns, status.st_size), meant):
            aside.unlink()
            return Removed.GONE
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.link(aside, place)
        sync_folders((str(place.parent),))
        aside.unlink()
        return Removed.KEPT

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


def _is(found: FileMark, meant: FileMark) -> bool:
    return (found.inode, found.modified_ns) == (meant.inode, meant.modified_ns)
