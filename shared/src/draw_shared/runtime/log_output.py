"""Standard output, line by line, and the rotation of the file that it may be.

Several processes write to one file: a service, its children, and whoever started it. Each
appends whole lines. Before a line it looks whether the file still has its name. If not,
another process has rotated it, and standard output and standard error move to the new file.
Who finds the file full rotates it, one process at a time. So no line is lost or cut, nobody
has to be told, and rotation goes on whatever becomes of the process that started the service.
A pipe to a process that writes would do neither: it blocks, or breaks, when that one is gone.

A line that the disk does not take is given up and counted; what is logged never fails.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

STANDARD_OUTPUT: Final = 1
STANDARD_ERROR: Final = 2


class LogOutput:
    """Standard output as a file for structlog, which lets one thread write at a time.

    Args:
        path: the file that standard output goes to from now on; None: it stays what it is.
        max_bytes: size at which the file is set aside as `<path>.1`.
        kept: how many such files there are at most.
    """

    def __init__(self, path: Path | None = None, *, max_bytes: int = 0, kept: int = 0) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._cut = False
        self.lost = 0
        """Lines that could not be written."""

    def write(self, line: str) -> None:
        """Write a line at once, if the disk takes it."""
        data = line.encode("utf-8", "backslashreplace")
        if self._path is not None:
            with suppress(OSError):
                self._follow(self._path)
        # What follows half a line begins anew.
        left = memoryview(b"\n" + data if self._cut else data)
        begun = False
        try:
            while left:
                left = left[os.write(STANDARD_OUTPUT, left) :]
                begun = True
        except OSError:
            self.lost += 1
            self._cut = self._cut or begun
        else:
            self._cut = False

    def flush(self) -> None:
        """Return: nothing is held back."""

    def _follow(self, path: Path) -> None:
        held = os.fstat(STANDARD_OUTPUT)
        try:
            named = path.stat()
        except FileNotFoundError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            _begin(path)
        elif named.st_size >= self._max_bytes:
            self._rotate(path)

    def _rotate(self, path: Path) -> None:
        lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have done it while we waited.
            if path.stat().st_size >= self._max_bytes:
                for number in range(self._kept - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
                path.rename(f"{path}.1")
            _begin(path)
        finally:
            os.close(lock)


def _begin(path: Path) -> None:
    """Have standard output and standard error go to the file that has this name."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        for standard in (STANDARD_OUTPUT, STANDARD_ERROR):
            os.dup2(descriptor, standard)
    finally:
        os.close(descriptor)
