"""Limits the resources of a process that decodes peers' data.

A data set can be crafted to grow a thousandfold, or to take for ever. Inflating it, decoding its
pixel data or passing it to a library therefore happens in a separate process that has confined
itself: the kernel refuses it memory, and ends it when its time is up. The process that asked
continues.
"""

import math
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Final

KEPT_VARIABLES: Final = (
    "PATH", "LANG", "LC_ALL", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"
)  # fmt: skip
MAPPED_BYTES: Final = 64 * 1024**3
"""Address space in addition to a process's memory: files that it only reads, libraries."""
MAX_DESCRIPTORS: Final = 64
DATA_PAGES: Final = 5
"""Position in `/proc/self/statm` of the value that RLIMIT_DATA limits."""


def confine(memory_bytes: int, *, longest_file: int = 0) -> None:
    """Let the kernel refuse this process more memory, longer files and a core file.

    Memory means what only this process can write to; files mapped for reading do not count,
    because the kernel can reclaim them.
    """
    limit(resource.RLIMIT_DATA, memory_bytes)
    limit(resource.RLIMIT_AS, memory_bytes + MAPPED_BYTES)
    limit(resource.RLIMIT_FSIZE, longest_file)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
    # With the signal ignored, a file that becomes too long fails the write, not the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # A terminal's Ctrl-C is meant for the parent, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def limit(kind: int, value: int) -> None:
    """Set a limit of this process permanently."""
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most))


def held_bytes() -> int:
    """Return how much memory of this process counts against its limit now."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[DATA_PAGES])
    return pages * resource.getpagesize()


def allow_seconds(seconds: int) -> None:
    """Let the kernel end this process once it has used this much more processor time."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = math.ceil(time.process_time()) + seconds
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


def environment() -> dict[str, str]:
    """Return the environment for a confined process: without secrets, and with one thread."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES}
    # Further threads of a library would take address space and processors.
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def command(module: str, *words: str) -> list[str]:
    """Return the command that starts one of our modules as a process."""
    return [sys.executable, "-m", module, *words]
