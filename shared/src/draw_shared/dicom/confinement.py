"""What a process that decodes what peers have sent may take of its machine.

A data set may be made to become a thousand times as large, or to take for ever. What inflates
it, decodes its pixel data or hands it to a library does so in a process of its own that has
confined itself: the kernel refuses it memory and ends it when its time is up, and whoever
asked goes on.
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
"""Address space beside a process's memory: files that it only reads, libraries."""
MAX_DESCRIPTORS: Final = 64
DATA_PAGES: Final = 5
"""Where `/proc/self/statm` has what RLIMIT_DATA counts."""


def confine(memory_bytes: int, *, longest_file: int = 0) -> None:
    """Let the kernel refuse this process more memory, longer files, and to leave a core file.

    Memory is what it alone can write to: files that it maps to read them are none, as the
    kernel can take those back.
    """
    limit(resource.RLIMIT_DATA, memory_bytes)
    limit(resource.RLIMIT_AS, memory_bytes + MAPPED_BYTES)
    limit(resource.RLIMIT_FSIZE, longest_file)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
    # A file that becomes too long is an error of the write, and no end of the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # A terminal's Ctrl-C is for whoever started it, which ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def limit(kind: int, value: int) -> None:
    """Set a limit of this process for good."""
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most))


def held_bytes() -> int:
    """Return how much memory that counts against its limit this process has now."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[DATA_PAGES])
    return pages * resource.getpagesize()


def allow_seconds(seconds: int) -> None:
    """Let the kernel end this process when it uses more processor time from now."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = math.ceil(time.process_time()) + seconds
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


def environment() -> dict[str, str]:
    """Return what a process that confines itself is started with: no secret, and one thread."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES}
    # Each further thread of a library would take address space and processors.
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def command(module: str, *words: str) -> list[str]:
    """Return what starts one of our modules as a process."""
    return [sys.executable, "-m", module, *words]
