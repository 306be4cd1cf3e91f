"""C-STORE beside peers: objects/s, latency, CPU, memory, and when all can be queried.

    python -m bench.store [--only DRAW,Orthanc] [--rounds 3] [--times 1] [--before CHECKOUT]

All servers run side by side, and take turns with each load: 512x512 and 64x64 CT objects
over 1, 4 and 16 associations through the load client, then DCMTK's storescu as shipped (with
Nagle's algorithm, which most peers suffer from). A machine that is slow for a minute is so
for all of them.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    StudyRootQueryRetrieveInformationModelFind,
)

from bench import load_client
from bench.objects import write_series
from bench.peers import Server, orthanc, stock_pynetdicom, storescp
from bench.process_cost import cost, descendants
from bench.suite import draw_suite

SIZES: Final = {"512x512": 512, "64x64": 64}
ASSOCIATIONS: Final = (1, 4, 16)
OBJECTS: Final = {"512x512": {1: 800, 4: 400, 16: 100}, "64x64": {1: 2000, 4: 1000, 16: 250}}
"""On each association; a second or two for the fastest of the servers that sync or index."""
SHIPPED_OBJECTS: Final = 60
QUERY_PATIENCE_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.1
"""Between two looks for what can be queried: they cost what the index needs."""
SERVERS: Final[dict[str, Callable[[Path], AbstractContextManager[Server]]]] = {
    "DRAW": draw_suite,
    "Orthanc": orthanc,
    "storescp": storescp,
    "pynetdicom": stock_pynetdicom,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    server: str
    load: str
    associations: int
    per_second: float
    mb_per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_ms: str
    rss_mib: float
    queryable_seconds: float | None

    def cells(self) -> list[str]:
        """Return the texts of the line."""
        lag = "" if self.queryable_seconds is None else f"{self.queryable_seconds:.1f}"
        return [
            self.server,
            self.load,
            str(self.associations),
            f"{self.per_second:.0f}",
            f"{self.mb_per_second:.0f}",
            f"{self.p50_ms:.2f}",
            f"{self.p99_ms:.2f}",
            str(self.failed),
            self.cpu_ms,
            f"{self.rss_mib:.0f}",
            lag,
        ]


HEADINGS: Final = (
    "server", "load", "associations", "objects/s", "MB/s", "p50 ms", "p99 ms", "failed",
    "CPU ms/object", "RSS MiB", "queryable after s",
)  # fmt: skip


def _spent(server: Server) -> dict[str, float]:
    return {name: cost(descendants(pid)).cpu_seconds for name, pid in server.pids.items()}


def _receiver_rss(server: Server) -> float:
    pid = server.pids.get("scp", server.pids.get("server", 0))
    return cost(descendants(pid)).rss_mib


def _per_object(before: dict[str, float], after: dict[str, float], objects: int) -> str:
    shares = {n: (after[n] - before[n]) / objects * 1e3 for n in after}
    return ", ".join(f"{n} {ms:.2f}" for n, ms in shares.items() if n not in {"api", "qr-worker"})


def seconds_until_queryable(server: Server, studies: Sequence[str], objects: int) -> float:
    """Return how long it takes until each study counts `objects` instances in C-FIND.

    Raises:
        RuntimeError: it does not happen within a minute.
    """
    ae = AE("BENCH")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    began = time.monotonic()
    for study in studies:
        # One request an association: between two, pynetdicom may lose an answer.
        while _instances(ae, server, study) < objects:
            if time.monotonic() - began > QUERY_PATIENCE_SECONDS:
                raise RuntimeError(f"study {study} is not complete in the index")
            time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def _instances(ae: AE, server: Server, study: str) -> int:
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "STUDY"
    wanted.StudyInstanceUID = study
    wanted.NumberOfStudyRelatedInstances = ""
    model = StudyRootQueryRetrieveInformationModelFind
    association = ae.associate("127.0.0.1", server.port, ae_title=server.ae_title)
    found = [d for _, d in association.send_c_find(wanted, model) if d is not None]
    association.release()
    return int(found[0].NumberOfStudyRelatedInstances or 0) if found else 0


def warm_up(client: Path, server: Server, folder: Path) -> None:
    """Have a server do everything once before the clock runs."""
    load_client.run(client, "store", server, str(folder), "2", "50")
    time.sleep(2)


def measure_load(
    client: Path, server: Server, size: str, folder: Path, parallel: int, times: int
) -> Row:
    """Return one line: `parallel` associations that send generated objects."""
    each = OBJECTS[size][parallel] * times
    # Nobody pays for what another left in the page cache.
    os.sync()
    time.sleep(SETTLE_SECONDS)
    before = _spent(server)
    done = load_client.run(client, "store", server, str(folder), str(parallel), str(each))
    rss = _receiver_rss(server)
    lag = None
    if server.answers_queries:
        lag = seconds_until_queryable(server, done["studies"], each)
    return Row(
        server.name,
        size,
        parallel,
        done["per_second"],
        done["MB_per_second"],
        done["p50_ms"],
        done["p99_ms"],
        done["failed"],
        _per_object(before, _spent(server), done["objects"]),
        rss,
        lag,
    )


def measure_shipped(server: Server, size: str, folder: Path) -> Row:
    """Return one line: DCMTK's storescu as Debian ships it."""
    files = [str(f) for f in sorted(folder.iterdir())[:SHIPPED_OBJECTS]]
    before = _spent(server)
    began = time.monotonic()
    command = ["storescu", "-aec", server.ae_title, "127.0.0.1", str(server.port), *files]
    done = subprocess.run(command, check=False, capture_output=True)
    seconds = time.monotonic() - began
    total = sum(os.path.getsize(f) for f in files)  # noqa: PTH202 - plain names are at hand
    return Row(
        server.name,
        f"storescu {size}",
        1,
        len(files) / seconds,
        total / seconds / 1e6,
        seconds / len(files) * 1e3,
        seconds / len(files) * 1e3,
        done.returncode,
        _per_object(before, _spent(server), len(files)),
        _receiver_rss(server),
        None,
    )


def show(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines)


def rounds_of(rows: Sequence[Row], server: str, load: str, associations: int) -> list[Row]:
    """Return the rounds of one server with one load, in their order."""
    wanted = (server, load, associations)
    return [row for row in rows if (row.server, row.load, row.associations) == wanted]


def medians(rows: Sequence[Row]) -> list[Row]:
    """Return for each server and load the round of median speed, server by server."""
    names = list(dict.fromkeys(row.server for row in rows))
    keys = dict.fromkeys((row.server, row.load, row.associations) for row in rows)
    found = (rounds_of(rows, *key) for key in sorted(keys, key=lambda key: names.index(key[0])))
    return [sorted(each, key=lambda row: row.per_second)[(len(each) - 1) // 2] for each in found]


def compare(rows: Sequence[Row]) -> str:
    """Return how many times as fast as each other server the first one is, load by load.

    The slowest and the fastest round in brackets: servers take turns within a round.
    """
    first, *others = dict.fromkeys(row.server for row in rows)
    headings = ["load", "associations", *others, "queryable after s, at most"]
    lines = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    for load in dict.fromkeys((row.load, row.associations) for row in rows):
        ours = rounds_of(rows, first, *load)
        times = [_times(ours, rounds_of(rows, name, *load)) for name in others]
        lags = [row.queryable_seconds for row in ours if row.queryable_seconds is not None]
        lag = f"{max(lags):.1f}" if lags else ""
        lines.append("| " + " | ".join([*map(str, load), *times, lag]) + " |")
    return "\n".join(lines)


def _times(ours: Sequence[Row], theirs: Sequence[Row]) -> str:
    pairs = zip(ours, theirs, strict=True)
    ratios = sorted(one.per_second / other.per_second for one, other in pairs)
    return f"{ratios[(len(ratios) - 1) // 2]:.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    load_client.add_option(parser)
    parser.add_argument("--only", default=",".join(SERVERS), help="servers, by comma")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=1, help="so many times the objects")
    parser.add_argument("--before", type=Path, help="an older checkout of the suite, as one more")
    options = parser.parse_args()
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="draw-bench-", dir=os.environ.get("TMPDIR")) as name,
        ExitStack() as running,
    ):
        work = Path(name)
        series = {
            size: write_series(work / "objects" / size, objects=100, side=side)
            for size, side in SIZES.items()
        }
        servers = [
            running.enter_context(SERVERS[chosen](work / chosen))
            for chosen in options.only.split(",")
        ]
        if options.before:
            older = draw_suite(work / "before", options.before.resolve(), "before")
            servers.append(running.enter_context(older))
        for server in servers:
            for folder in series.values():
                warm_up(options.load_client, server, folder)
        for number in range(1, options.rounds + 1):
            seen = [
                measure_load(options.load_client, server, size, folder, parallel, options.times)
                for size, folder in series.items()
                for parallel in ASSOCIATIONS
                for server in servers
            ]
            seen += [
                measure_shipped(server, size, series[size]) for size in SIZES for server in servers
            ]
            print(f"round {number}\n\n{show(seen)}\n", flush=True)
            rows += seen
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    print(f"medians of {options.rounds} rounds\n\n{show(medians(rows))}\n\n{compare(rows)}")


if __name__ == "__main__":
    main()
