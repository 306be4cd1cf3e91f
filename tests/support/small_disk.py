"""File systems of their own: one that is quickly full, and one in an image."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from support import service_finder


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


def format_image(image, size_bytes, *options):
    """Make a file with an ext4 in it."""
    with image.open("wb") as file:
        file.truncate(size_bytes)
    program = service_finder.program("mkfs.ext4", "e2fsprogs")
    subprocess.run([program, "-q", *options, str(image)], check=True, capture_output=True)


@contextlib.contextmanager
def mounted_image(image, folder):
    """The file system of an image at `folder` while the block runs."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-o", "loop", str(image), str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting needs root and a loop device")
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
