"""What is looked at while the soak runs: processes, tables, statements, folders."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from bench.process_cost import cost, descendants

SAMPLE_SECONDS: Final = 5.0

TABLES: Final = b"""
    SELECT coalesce(p.relname, c.relname), sum(pg_total_relation_size(c.oid))::bigint
    FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
        LEFT JOIN pg_class p ON p.oid = i.inhparent
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace GROUP BY 1
"""
STATEMENTS: Final = b"""
    SELECT queryid, left(regexp_replace(query, '\\s+', ' ', 'g'), 90), calls, total_exec_time
    FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One service with its children at one moment."""

    seconds: float
    rss_mib: float
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Performed:
    """How often a statement was performed, and how long it took in all."""

    text: str
    calls: int
    milliseconds: float


@dataclass
class Watch:
    """Looks at the processes every few seconds."""

    pids: Mapping[str, int]
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            for name, pid in self.pids.items():
                pids = descendants(pid)
                sample = Sample(
                    time.monotonic() - self._began,
                    cost(pids).rss_mib,
                    sum(_entries(each, "fd") for each in pids),
                    sum(_entries(each, "task") for each in pids),
                )
                self.samples.setdefault(name, []).append(sample)


def _entries(pid: int, folder: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/{folder}"))  # noqa: PTH208 - names suffice
    except OSError:
        return 0


def tables(url: str) -> dict[str, int]:
    """Return the bytes of each table with its indexes, partitions counted to their table."""
    with psycopg.connect(url) as connection:
        return {str(row[0]): int(row[1]) for row in connection.execute(TABLES)}


def statements(url: str) -> dict[int, Performed]:
    """Return what was performed so far, by statement."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(STATEMENTS)
        return {int(row[0]): Performed(str(row[1]), int(row[2]), float(row[3])) for row in rows}


def folder_bytes(folder: Path) -> int:
    """Return what the files below a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
