"""Files of stored objects in folders of other programs: hard links, or copies where asked."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

NO_LINK: Final = frozenset((errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK))
"""The file system cannot link here, so files are copied."""
READABLE: Final = 0o644
CHUNK: Final = 1 << 20


class SourceUnreadable(OSError):
    """The stored file is missing, or cannot be read now."""


def hand_file(source: Path, part: Path, target: Path, *, link: bool) -> None:
    """Put a stored file into another program's folder, whole: as `part`, which is then renamed.

    Everyone who may enter the folder of the folder may read a copy.

    Raises:
        SourceUnreadable: the stored file is missing, or cannot be read now.
        OSError: it is not possible now.
    """
    part.unlink(missing_ok=True)
    try:
        with _opened(source) as stored:
            if not (link and _link(source, part)):
                _copy(stored, part)
                part.chmod(mode_of(target.parent.parent) & READABLE)
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    # Two names of one file stay two when one is renamed to the other.
    part.unlink(missing_ok=True)


def mode_of(folder: Path) -> int:
    """Return the permissions of a folder."""
    return stat.S_IMODE(folder.stat().st_mode)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in NO_LINK:
            return False
        raise
    return True


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    try:
        stored = source.open("rb")
    except OSError as error:
        raise SourceUnreadable(error.errno, os.strerror(error.errno or 0)) from error
    with stored:
        yield stored


def _copy(stored: BinaryIO, target: Path) -> None:
    with target.open("wb") as made:
        while chunk := _read(stored):
            made.write(chunk)
        made.flush()
        os.fsync(made.fileno())


def _read(stored: BinaryIO) -> bytes:
    try:
        return stored.read(CHUNK)
    except OSError as error:
        raise SourceUnreadable(error.errno, os.strerror(error.errno or 0)) from error
