"""What a soak has shown: a list of findings, each of which holds or is broken."""

import re
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.soak.watch import Performed, Sample

MILLION: Final = 1_000_000
MAX_SHOWN: Final = 10
MAX_LINE_LENGTH: Final = 120
MIN_CALLS: Final = 20
GROWS_TIMES: Final = 2.0
GROWS_MS: Final = 20.0
"""A statement that takes twice as long in the second half, and so much, grows."""
LEAK_SHARE: Final = 1.1
LEAK_MIB: Final = 32.0
LEAK_COUNT: Final = 16
FEWER_SHARE: Final = 0.5
MIN_SAMPLES: Final = 24


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the verdict."""

    name: str
    holds: bool
    words: str


def truth(
    acknowledged: Collection[str],
    indexed: Collection[str],
    rows: Mapping[str, str],
    on_disk: Collection[str],
    wrong_files: Collection[str],
) -> Finding:
    """Return whether what was acknowledged is indexed and on disk, and nothing else is.

    Args:
        acknowledged: the objects that have to be there.
        indexed: those that are.
        rows: the path of each of them.
        on_disk: the paths of all files of objects.
        wrong_files: files whose bytes are not those of their row.
    """
    missing = set(acknowledged) - set(indexed)
    foreign = set(indexed) - set(acknowledged)
    paths = set(rows.values())
    without_file = paths - set(on_disk)
    without_row = set(on_disk) - paths
    faults = {
        "missing": len(missing),
        "not acknowledged": len(foreign),
        "rows without file": len(without_file),
        "files without row": len(without_row),
        "two rows for a file": len(rows) - len(paths),
        "files with other bytes": len(wrong_files),
    }
    broken = ", ".join(f"{number:,} {name}" for name, number in faults.items() if number)
    words = f"{len(acknowledged):,} objects acknowledged, {len(indexed):,} indexed,"
    words += f" {len(on_disk):,} files; {broken or 'none missing, none twice'}"
    return Finding("truth", not broken, words)


def leaks(samples: Mapping[str, Sequence[Sample]]) -> list[Finding]:
    """Return for each service whether its last quarter took more than the one before."""
    found = []
    for name, seen in samples.items():
        if len(seen) < MIN_SAMPLES:
            found.append(Finding(f"leaks of {name}", holds=True, words="too short to say"))
            continue
        quarter = len(seen) // 4
        before, last = seen[-2 * quarter : -quarter], seen[-quarter:]
        memory = _medians(before, last, "rss_mib")
        descriptors = _medians(before, last, "descriptors")
        threads = _medians(before, last, "threads")
        holds = (
            not _grew(*memory, LEAK_MIB)
            and not _grew(*descriptors, LEAK_COUNT)
            and not _grew(*threads, LEAK_COUNT)
        )
        words = (
            f"{memory[0]:.0f} to {memory[1]:.0f} MiB, {descriptors[0]:.0f} to"
            f" {descriptors[1]:.0f} descriptors, {threads[0]:.0f} to {threads[1]:.0f} threads"
        )
        found.append(Finding(f"leaks of {name}", holds, words))
    return found


def _medians(before: Sequence[Sample], last: Sequence[Sample], what: str) -> tuple[float, float]:
    return (
        statistics.median(getattr(sample, what) for sample in before),
        statistics.median(getattr(sample, what) for sample in last),
    )


def _grew(before: float, last: float, least: float) -> bool:
    return last > before * LEAK_SHARE and last > before + least


def growing(half: Mapping[int, Performed], end: Mapping[int, Performed]) -> Finding:
    """Return whether a statement takes longer in the second half than in the first."""
    found = []
    for number, whole in end.items():
        first = half.get(number)
        if first is None or min(first.calls, whole.calls - first.calls) < MIN_CALLS:
            continue
        before, after = _mean(first), _mean(_second_half(first, whole))
        if after > GROWS_TIMES * before and after > GROWS_MS:
            found.append(f"{before:.1f} to {after:.1f} ms: {whole.text}")
    return Finding("statements that grow", not found, "; ".join(found) or "none")


def dearest(half: Mapping[int, Performed], end: Mapping[int, Performed]) -> list[list[str]]:
    """Return rows of a table: the statements that took most time in all."""
    order = sorted(end.items(), key=lambda item: -item[1].milliseconds)[:MAX_SHOWN]
    rows = []
    for number, whole in order:
        first = half.get(number)
        halves = f"{_mean(first):.2f}" if first else ""
        second = f"{_mean(_second_half(first, whole)):.2f}" if first else f"{_mean(whole):.2f}"
        seconds = f"{whole.milliseconds / 1000:.1f}"
        rows.append([f"`{whole.text[:70]}`", f"{whole.calls:,}", seconds, halves, second])
    return rows


def _second_half(first: Performed, whole: Performed) -> Performed:
    calls, milliseconds = whole.calls - first.calls, whole.milliseconds - first.milliseconds
    return Performed(whole.text, calls, milliseconds)


def _mean(performed: Performed) -> float:
    return performed.milliseconds / performed.calls if performed.calls else 0.0


def failed(answers: Mapping[str, int], failures: Sequence[str]) -> Finding:
    """Return whether every answer was the right one."""
    counted = ", ".join(f"{number:,} {kind}" for kind, number in sorted(answers.items()))
    alike = Counter(
        re.sub(r"[0-9a-f.-]{12,}", "…", failure)[:MAX_LINE_LENGTH] for failure in failures
    )
    few = "; ".join(f"{number} {words}" for words, number in alike.most_common(MAX_SHOWN))
    words = f"{counted}; " + (f"{len(failures)} failed: {few}" if failures else "none failed")
    return Finding("answers", not failures, words)


def webhook(halves: tuple[int, int], waiting: int) -> Finding:
    """Return whether the healthy webhook got its deliveries as fast as before, and all."""
    first, second = halves
    holds = waiting == 0 and second >= first * FEWER_SHARE
    words = f"{first:,} deliveries in the first half, {second:,} in the second, {waiting:,} waiting"
    return Finding("the healthy webhook beside a hanging one", holds, words)


def growth(before: Mapping[str, int], after: Mapping[str, int], objects: int) -> list[list[str]]:
    """Return rows of a table: megabytes per million objects, largest first."""
    per_million = {
        name: (size - before.get(name, 0)) / max(1, objects) * MILLION / 1e6
        for name, size in after.items()
    }
    order = sorted(per_million.items(), key=lambda item: -item[1])[:MAX_SHOWN]
    return [[name, f"{megabytes:,.0f}"] for name, megabytes in order if megabytes >= 1]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
