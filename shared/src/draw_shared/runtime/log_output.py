"""Writes log lines to standard output, and rotates the log file behind it.

Several processes write to one file: a service, its children and the process that started it. Each
one appends whole lines. Before each line it checks whether the file still has its name. If not,
another process has rotated it, and standard output and standard error move to the new file. A
process that finds the file full rotates it, one process at a time. So no line is lost or cut, no
process needs a notification, and rotation continues even if the starting process dies. A pipe to
a writing process would block or break when that process is gone.

A line that cannot be written is dropped and counted; logging never fails.
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
        path: the file that standard output is redirected to; None leaves it unchanged.
        max_bytes: size at which the file is renamed to `<path>.1`.
        kept: the maximum number of renamed files.
    """

    def __init__(self, path: Path | None = None, *, max_bytes: int = 0, kept: int = 0) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._cut = False
        self.lost = 0
        """Lines that could not be written."""

    def write(self, line: str) -> None:
        """Write a line at once; count it as lost if that fails."""
        data = line.encode("utf-8", "backslashreplace")
        if self._path is not None:
            with suppress(OSError):
                self._follow(self._path)
        # After a partly written line, begin a new one.
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
        """Do nothing, because nothing is buffered."""

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
            # Another process may have rotated the file while we waited.
            if path.stat().st_size >= self._max_bytes:
                for number in range(self._kept - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
                path.rename(f"{path}.1")
            _begin(path)
        finally:
            os.close(lock)


def _begin(path: Path) -> None:
    """Redirect standard output and standard error to the file with this name."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        for standard in (STANDARD_OUTPUT, STANDARD_ERROR):
            os.dup2(descriptor, standard)
    finally:
        os.close(descriptor)
