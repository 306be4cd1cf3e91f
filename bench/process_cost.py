"""CPU time and memory of running processes."""

from contextlib import suppress
from dataclasses import dataclass

import psutil


def descendants(pid: int) -> list[int]:
    """Return `pid` and every process below it."""
    with suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return [pid]


@dataclass(frozen=True, slots=True)
class Cost:
    """What processes have used so far."""

    cpu_seconds: float
    rss_mib: float


def cost(pids: list[int]) -> Cost:
    """Return CPU seconds used so far and resident memory now, summed over `pids`.

    Children that a process has waited for count as its own.
    """
    seconds, size_bytes = 0.0, 0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            used, size = process.cpu_times(), process.memory_info().rss
            seconds += used.user + used.system + used.children_user + used.children_system
            size_bytes += size
    return Cost(seconds, size_bytes / 2**20)
