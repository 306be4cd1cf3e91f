"""Sixteen requestors at once get a large object in another transfer syntax: memory and C-ECHO.

    python -m bench.transcode [--bytes 2000000000] [--requestors 16]

Exits with 1 unless every requestor has the whole object, the receiver's processes grow by less
than 256 MiB together, and C-ECHO (association included) stays below 50 ms at its 95th percentile.
Requestors are processes that keep nothing, of the least priority: they stand for other machines.
"""

import argparse
import os
import platform
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Self

from pydicom.uid import generate_uid
from pynetdicom.dsutils import encode

from bench import receiver
from bench.objects import image
from bench.peers import Server
from bench.process_cost import cost, descendants
from bench.store import seconds_until_queryable
from bench.suite import draw_suite
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.contexts import contexts_for
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.dicom.network.store_sender import Outgoing, open_sender
from tools.local_postgres import LocalPostgres

MAX_GROWTH_MIB: Final = 256
MAX_ECHO_MS: Final = 50
PAUSE_SECONDS: Final = 0.02
ECHO: Final = (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),)
BLOCK: Final = bytes(range(256)) * 4096
"""A mebibyte of pixels."""


class LargeImage:
    """A CT image of any size, made while it is sent."""

    def __init__(self, size_bytes: int) -> None:
        self.head = image(generate_uid(), generate_uid(), 1, 1024)
        self.head.NumberOfFrames = size_bytes // (2 * 1024 * 1024)
        self._blocks = int(self.head.NumberOfFrames) * 2

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield its data set in Explicit VR Little Endian."""
        yield encode(self.head, is_implicit_vr=False, is_little_endian=True) or b""
        length = self._blocks * len(BLOCK)
        yield struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, length)
        for _ in range(self._blocks):
            yield BLOCK


class Watch:
    """Asks for C-ECHO, one association after the other, and looks at memory while a block runs."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self._pids = descendants(server.pids["scp"])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._before = self._most = cost(self._pids).rss_mib
        self._seconds: list[float] = []

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            began = time.monotonic()
            with open_association(_remote(self._port), ECHO) as made:
                made.echo()
            self._seconds.append(time.monotonic() - began)
            self._most = max(self._most, cost(self._pids).rss_mib)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth_mib(self) -> float:
        """By how much the receiver's processes have grown together, at most."""
        return self._most - self._before

    @property
    def echo_ms(self) -> tuple[float, float]:
        """The 95th percentile and the slowest C-ECHO."""
        ordered = sorted(self._seconds)
        return ordered[int(len(ordered) * 0.95)] * 1e3, ordered[-1] * 1e3


def _remote(port: int) -> Remote:
    return Remote("127.0.0.1", port, "DRAW_SCP", "BENCH", 60.0)


@contextmanager
def suite(folder: Path) -> Iterator[Server]:
    """Run the suite on a PostgreSQL of its own."""
    postgres = LocalPostgres(folder / "postgres")
    postgres.start()
    try:
        postgres.create_database("draw")
        with draw_suite(folder / "suite", DRAW_DATABASE_URL=postgres.url("draw")) as server:
            yield server
    finally:
        postgres.stop(10)
        postgres.kill()


def stored_study(server: Server, size_bytes: int) -> str:
    """Store one CT object in Explicit VR Little Endian and return its Study Instance UID.

    Raises:
        RuntimeError: it was not stored.
    """
    large = LargeImage(size_bytes)
    sop = str(large.head.SOPClassUID), str(large.head.SOPInstanceUID)
    with open_sender(_remote(server.port), contexts_for([(sop[0], EXPLICIT_LITTLE)])) as made:
        statuses = [one.status for one in made.store([Outgoing(large, *sop, EXPLICIT_LITTLE)])]
    if statuses != [0]:
        raise RuntimeError(f"C-STORE ended with {statuses}")
    study = str(large.head.StudyInstanceUID)
    seconds_until_queryable(server, [study], 1)
    return study


def at_once(server: Server, study: str, syntax: str, requestors: int) -> list[tuple[int, float]]:
    """Return what each of several requestors got, and the seconds it took."""
    # They stand for other machines, whose processors are not ours to take from.
    with ProcessPoolExecutor(requestors, get_context("spawn"), os.nice, (19,)) as pool:
        running = [pool.submit(receiver.get, server, study, syntax) for _ in range(requestors)]
        return [one.result() for one in running]


def main() -> None:
    """Run the benchmark, print the table and exit with the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bytes", type=int, default=2_000_000_000)
    parser.add_argument("--requestors", type=int, default=16)
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    print("| requestors | sent in | MB/s | growth MiB | C-ECHO p95 ms | C-ECHO slowest ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    failed = False
    with (
        tempfile.TemporaryDirectory(prefix="draw-bench-", dir=os.environ.get("TMPDIR")) as name,
        suite(Path(name)) as server,
    ):
        study = stored_study(server, options.bytes)
        for requestors, syntax, words in (
            (1, EXPLICIT_LITTLE, "Explicit VR Little Endian, as stored"),
            (1, IMPLICIT_LITTLE, "Implicit VR Little Endian"),
            (options.requestors, IMPLICIT_LITTLE, "Implicit VR Little Endian"),
        ):
            with Watch(server) as watch:
                got = at_once(server, study, syntax, requestors)
            if {number for number, _ in got} != {1}:
                raise RuntimeError("a requestor did not get the object")
            rate = requestors * options.bytes / max(seconds for _, seconds in got) / 1e6
            growth, (p95, slowest) = watch.growth_mib, watch.echo_ms
            numbers = f"{rate:.0f} | {growth:.0f} | {p95:.1f} | {slowest:.0f}"
            print(f"| {requestors} | {words} | {numbers} |", flush=True)
            if syntax != EXPLICIT_LITTLE:
                failed = failed or growth >= MAX_GROWTH_MIB or p95 >= MAX_ECHO_MS
    print("\nFAILED" if failed else "\nPASSED")
    sys.exit(failed)


if __name__ == "__main__":
    main()
