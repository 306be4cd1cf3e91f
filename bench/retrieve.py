"""C-GET and C-MOVE of one study beside Orthanc: objects per second, over the same objects.

    python -m bench.retrieve [--objects 400] [--repeats 3]

What receives is `bench.receiver`, which keeps nothing and takes one object at a time. The
best of the repeats counts, as for anything that shares a machine.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    StudyRootQueryRetrieveInformationModelMove,
)

from bench import load_client, receiver
from bench.objects import write_series
from bench.peers import Server, orthanc, wait_for_port
from bench.process_cost import cost
from bench.store import seconds_until_queryable
from bench.suite import draw_suite
from tools.local_postgres import LocalPostgres
from tools.processes import free_port

SINK: Final = "SINK"


@contextmanager
def sink() -> Iterator[int]:
    """Run the destination of C-MOVE and yield its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.receiver", str(port)])
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def move(server: Server, study: str) -> tuple[int, float]:
    """Return how many objects a C-MOVE to the sink delivered, and the seconds it took.

    Raises:
        RuntimeError: the C-MOVE did not succeed.
    """
    model = StudyRootQueryRetrieveInformationModelMove
    ae = AE("BENCH")
    ae.add_requested_context(model)
    association = ae.associate("127.0.0.1", server.port, ae_title=server.ae_title)
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "STUDY"
    wanted.StudyInstanceUID = study
    began = time.monotonic()
    answers = [status for status, _ in association.send_c_move(wanted, SINK, model)]
    took = time.monotonic() - began
    association.release()
    final = answers[-1]
    if final.get("Status") != 0:
        raise RuntimeError(f"{server.name}: C-MOVE ended with {final}")
    return int(final.NumberOfCompletedSuboperations), took


def measure(client: Path, server: Server, folder: Path, objects: int, repeats: int) -> list[str]:
    """Return the line of one server."""
    sent = load_client.run(client, "store", server, str(folder), "1", str(objects))
    study = sent["studies"][0]
    seconds_until_queryable(server, [study], objects)
    pids = [pid for name, pid in server.pids.items() if name in {"scp", "server"}]
    before = cost(pids).cpu_seconds
    got = [receiver.get(server, study) for _ in range(repeats)]
    cpu_ms = (cost(pids).cpu_seconds - before) / (objects * repeats) * 1e3
    moved = [move(server, study) for _ in range(repeats)]
    if {number for number, _ in [*got, *moved]} != {objects}:
        raise RuntimeError(f"{server.name} did not deliver {objects} objects each time")
    best_get = max(number / took for number, took in got)
    best_move = max(number / took for number, took in moved)
    return [server.name, str(objects), f"{best_get:.0f}", f"{cpu_ms:.2f}", f"{best_move:.0f}"]


@contextmanager
def suite_with_sink(folder: Path, port: int) -> Iterator[Server]:
    """Run the suite with the sink as a configured remote node."""
    postgres = LocalPostgres(folder / "postgres")
    postgres.start()
    try:
        postgres.create_database("draw")
        url = postgres.url("draw")
        with draw_suite(folder / "suite", DRAW_DATABASE_URL=url) as server:
            with psycopg.connect(url) as connection:
                connection.execute(
                    "INSERT INTO remote_nodes (name, ae_title, host, port)"
                    " VALUES ('sink', %s, '127.0.0.1', %s)",
                    (SINK, port),
                )
            yield server
    finally:
        postgres.stop(10)
        postgres.kill()


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    load_client.add_option(parser)
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    print("| server | objects | C-GET objects/s | CPU ms/object | C-MOVE objects/s |")
    print("| --- | --- | --- | --- | --- |")
    with (
        tempfile.TemporaryDirectory(prefix="draw-bench-", dir=os.environ.get("TMPDIR")) as name,
        sink() as port,
    ):
        work = Path(name)
        folder = write_series(work / "objects", objects=100, side=512)
        given = (options.load_client, folder, options.objects, options.repeats)
        with suite_with_sink(work / "draw", port) as server:
            print("| " + " | ".join(measure(given[0], server, *given[1:])) + " |", flush=True)
        destination = {"sink": [SINK, "127.0.0.1", port]}
        with orthanc(work / "orthanc", DicomModalities=destination) as server:
            print("| " + " | ".join(measure(given[0], server, *given[1:])) + " |", flush=True)


if __name__ == "__main__":
    main()
