"""A file system of its own that is quickly full."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(folder, options="size=4m"):
    """A tmpfs at `folder` while the block runs."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "draw-test", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, *, leave=0):
    """Take what is free, all but the last `leave` bytes, and return the file that has it."""
    filler = Path(folder) / "filler"
    with filler.open("ab", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(file.fileno(), max(0, file.tell() - leave))
    return filler
