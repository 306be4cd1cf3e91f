"""Checks whether two folders overlap, and restricts access to a folder."""

import os
import stat
from contextlib import suppress
from pathlib import Path


def keep_from_others(folder: Path) -> None:
    """Remove other users' access to a folder and its content, if this process owns the folder.

    Earlier releases left folders open whose names may identify patients.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IRWXO:
        with suppress(OSError):
            folder.chmod(mode & ~stat.S_IRWXO)


def overlap(one: Path, other: Path) -> bool:
    """Return whether two folders are the same or one of them contains the other.

    Symbolic links, `..` and further mounts of the same folder are resolved. Folders that do not
    exist yet, or that this process may not see, are compared by their paths.
    """
    first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if first.is_relative_to(second) or second.is_relative_to(first):
        return True
    return bool({_known(first)} & _above(second) or {_known(second)} & _above(first))


def _known(folder: Path) -> tuple[int, int] | None:
    """Return the device and inode of a folder; None when it cannot be seen."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _above(folder: Path) -> set[tuple[int, int] | None]:
    return {_known(one) for one in (folder, *folder.parents)} - {None}
