"""C-FIND beside Orthanc: latency as the index grows, responses per second, memory.

    python -m bench.query [--sizes 10000,100000,1000000] [--repeats 200]

Each size has an index of its own, filled directly in PostgreSQL. Six study-level queries
that find few matches are timed; then one that finds 20,000 (from 100,000 studies on), with
the growth of the receiver's memory. Orthanc is filled by C-STORE with a small number of
studies, as its own interface allows no faster way.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from bench import load_client
from bench.index_filler import fill
from bench.objects import write_series
from bench.peers import Server, orthanc
from bench.process_cost import cost, descendants
from bench.query_plans import plans
from bench.suite import draw_suite
from draw_shared.db.migrate import upgrade
from tools.local_postgres import LocalPostgres

QUERIES: Final[dict[str, tuple[str, ...]]] = {
    "PatientID": ("PatientID=P00000007",),
    "StudyInstanceUID": ("StudyInstanceUID=1.2.826.0.1.3680043.10.1.77",),
    "AccessionNumber": ("AccessionNumber=A000000077",),
    "SMITH*": ("PatientName=SMITH*",),
    "*MITH*": ("PatientName=*MITH*",),
    "week and modality": ("StudyDate=20251201-20251207", "ModalitiesInStudy=CT"),
}
ASKED: Final = ("PatientName=", "StudyDate=", "StudyInstanceUID=", "NumberOfStudyRelatedInstances=")
MANY: Final = 20_000
ORTHANC_STUDIES: Final = 200


def _words(keys: Sequence[str]) -> list[str]:
    given = {key.partition("=")[0] for key in keys}
    return [*keys, *(key for key in ASKED if key.partition("=")[0] not in given)]


def ask(client: Path, server: Server, keys: Sequence[str], repeats: int) -> dict[str, Any]:
    """Return what the load client reports of one query."""
    found: dict[str, Any] = load_client.run(
        client, "find", server, "STUDY", str(repeats), *_words(keys)
    )
    return found


@contextmanager
def filled_suite(folder: Path, studies: int) -> Iterator[tuple[Server, str]]:
    """Run the suite over an index of so many studies; yield it and the database's URL."""
    postgres = LocalPostgres(folder / "postgres")
    postgres.start()
    try:
        postgres.create_database("draw")
        url = postgres.url("draw")
        upgrade(url)
        fill(url, studies)
        with draw_suite(folder / "suite", DRAW_DATABASE_URL=url) as server:
            yield server, url
    finally:
        postgres.stop(10)
        postgres.kill()


def measure(client: Path, server: Server, repeats: int) -> list[list[str]]:
    """Return a line for each of the six queries."""
    lines = []
    for name, keys in QUERIES.items():
        ask(client, server, keys, 3)
        found = ask(client, server, keys, repeats)
        p50, p95 = f"{found['p50_ms']:.2f}", f"{found['p95_ms']:.2f}"
        lines.append([name, str(found["matches"]), p50, p95])
    return lines


def measure_many(client: Path, server: Server, url: str) -> list[str]:
    """Return the line of a query that finds 20,000 studies."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE studies SET study_id = 'MANY' WHERE id IN (SELECT id FROM studies LIMIT %s)",
            (MANY,),
        )
        connection.commit()
    pids = descendants(server.pids["scp"])
    before = cost(pids).rss_mib
    found = ask(client, server, ("StudyID=MANY",), 3)
    grown = cost(pids).rss_mib - before
    rate, first = f"{found['responses_per_second']:.0f}", f"{found['first_ms']:.1f}"
    return [str(found["matches"]), rate, first, f"{grown:.0f}"]


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    load_client.add_option(parser)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--explain", action="store_true", help="print the plans at the last size")
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    headings = ("studies", "query", "matches", "p50 ms", "p95 ms")
    lines: list[list[str]] = []
    many: list[list[str]] = []
    shown: list[str] = []
    sizes = [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="draw-bench-", dir=os.environ.get("TMPDIR")) as name:
        work = Path(name)
        for size in sizes:
            with filled_suite(work / str(size), size) as (server, url):
                found = measure(options.load_client, server, options.repeats)
                lines += [[str(size), *line] for line in found]
                if size >= MANY:
                    many.append([str(size), *measure_many(options.load_client, server, url)])
                if options.explain and size == sizes[-1]:
                    found_plans = {n: _words(keys) for n, keys in QUERIES.items()}
                    shown = list(plans(url, found_plans))
            print(_table(headings, lines[-len(QUERIES) :]), flush=True)
        with orthanc(work / "orthanc") as server:
            folder = write_series(work / "objects", objects=1, side=64)
            sent = str(ORTHANC_STUDIES)
            words = (str(folder), "1", sent, "--spread", sent)
            load_client.run(options.load_client, "store", server, *words)
            peer = ask(options.load_client, server, ("PatientID=P*",), options.repeats)
            cells = (peer["matches"], peer["p50_ms"], peer["p95_ms"])
            lines.append([f"Orthanc, {sent}", "PatientID=P*", *map(str, cells)])
    print(f"\n{_table(headings, lines)}\n")
    print(_table(("studies", "matches", "responses/s", "first ms", "RSS growth MiB"), many))
    print(*shown, sep="\n")


if __name__ == "__main__":
    main()
