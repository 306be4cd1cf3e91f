"""CPU time and memory of running processes, read from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
OWN_AND_REAPED_CHILDREN: Final = slice(13, 17)


def descendants(pid: int) -> list[int]:
    """Return `pid` and every process below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(_stat(int(entry.name))[3])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found


def _stat(pid: int) -> list[str]:
    raw = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    name_end = raw.rindex(")")
    return [raw[:name_end], "", *raw[name_end + 2 :].split()]


@dataclass(frozen=True, slots=True)
class Cost:
    """What processes have used so far."""

    cpu_seconds: float
    rss_mib: float


def cost(pids: list[int]) -> Cost:
    """Return CPU seconds used so far and resident memory now, summed over `pids`."""
    ticks, pages = 0, 0
    for pid in pids:
        try:
            fields = _stat(pid)
            pages += int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
        except OSError:
            continue
        ticks += sum(int(ticks_of) for ticks_of in fields[OWN_AND_REAPED_CHILDREN])
    return Cost(ticks / TICKS_PER_SECOND, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
