"""Whether two folders have files in common, and who may look into one."""

import os
import stat
from contextlib import suppress
from pathlib import Path


def keep_from_others(folder: Path) -> None:
    """Close a folder, and so all that is in it, to other users, if it is ours and was open.

    Releases before this one left folders open whose names name patients.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IRWXO:
        with suppress(OSError):
            folder.chmod(mode & ~stat.S_IRWXO)


def overlap(one: Path, other: Path) -> bool:
    """Return whether one folder is the other, lies inside it, or has it inside.

    Symbolic links, `..` and further mounts of the same folder are seen through; folders that
    are not there yet, or that this process may not see, count as their paths say.
    """
    first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if first.is_relative_to(second) or second.is_relative_to(first):
        return True
    return bool({_known(first)} & _above(second) or {_known(second)} & _above(first))


def _known(folder: Path) -> tuple[int, int] | None:
    """Return what the operating system knows a folder by; None when it cannot be seen."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _above(folder: Path) -> set[tuple[int, int] | None]:
    return {_known(one) for one in (folder, *folder.parents)} - {None}
