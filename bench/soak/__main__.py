"""The mixed load of a hospital for some minutes, with a verdict.

    python -m bench.soak [--minutes 25] [--rate 120]

Six senders of CT images, small images and plans; C-FIND, C-GET and C-MOVE of what they sent;
retrieve jobs from an Orthanc of studies that are deleted before; readers of pages and routes,
event streams; a healthy webhook beside a hanging one; deletions; changed settings. Then: is
what was acknowledged indexed and on disk, once? Does a process or a statement grow? Did an
answer fail? The exit code is 1 when something is broken.
"""

import argparse
import hashlib
import multiprocessing
import os
import platform
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from bench.peers import Server
from bench.retrieve import SINK, sink
from bench.soak import verdict, watch
from bench.soak.dimse import LOADS, Sent, keep_sending, send_study
from bench.soak.load import Activity, Known, Tally, signed_in
from bench.suite import draw_suite
from support import hook_receiver, peers
from tools.local_postgres import LocalPostgres
from tools.processes import free_port, wait_until

SENDERS: Final = (0, 0, 1, 1, 2, 2)
"""Which load each sender sends."""
SHARES: Final = (0.2, 0.7, 0.1)
"""Of the objects a second, by load."""
PEER_STUDIES: Final = 30
PEER_SENDER: Final = 900
CAUGHT_UP_SECONDS: Final = 180.0
SAMPLED_FILES: Final = 2000
KINDS: Final = ["instance.stored", "series.stable", "study.stable", "study.deleted"]
PENDING: Final = (
    b"SELECT count(*) FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id"
    b" WHERE d.state = 'pending' AND w.url = %s"
)
INSTANCES: Final = b"SELECT sop_instance_uid, path, content_sha256 FROM instances"


@dataclass
class Course:
    """What a run has left to be judged."""

    objects: int
    seconds: float
    findings: list[verdict.Finding]
    sections: list[str]


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL that counts its statements, and yield the URL of a database."""
    server = LocalPostgres(folder)
    server.start()
    try:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        server.stop()
        server.start()
        server.create_database("draw")
        with psycopg.connect(server.url("draw"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
        yield server.url("draw")
    finally:
        server.stop()
        server.kill()


class Senders:
    """Processes that send, and a thread that takes note of what was acknowledged."""

    def __init__(self, server: Server, rate: float, known: Known) -> None:
        self._known = known
        self._ended = multiprocessing.Event()
        self._results: Any = multiprocessing.Queue()
        self._processes = []
        for number, load in enumerate(SENDERS):
            each = rate * SHARES[load] / SENDERS.count(load)
            given = (server.port, server.ae_title, LOADS[load], number, each)
            self._processes.append(
                multiprocessing.Process(
                    target=keep_sending, args=(*given, self._ended, self._results), daemon=True
                )
            )
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to send."""
        for process in self._processes:
            process.start()
        self._listening.start()

    def end(self) -> None:
        """Let every sender end its study, and take note of it."""
        self._ended.set()
        for process in self._processes:
            process.join(120)
        self._over.set()
        self._listening.join()

    def _listen(self) -> None:
        while True:
            try:
                self._known.add(self._results.get(timeout=0.5))
            except queue.Empty:
                if self._over.is_set():
                    return


def fill_peer(server: Server) -> list[Sent]:
    """Give the peer studies of its own."""
    return [
        send_study(server.port, server.ae_title, LOADS[1], PEER_SENDER, 1000 * number, 0)
        for number in range(PEER_STUDIES)
    ]


def run(folder: Path, minutes: float, rate: float) -> Course:
    """Return what a run of so many minutes has shown."""
    api_port = free_port()
    web_url = f"http://127.0.0.1:{api_port}"
    with (
        database(folder / "postgres") as url,
        sink() as sink_port,
        draw_suite(folder / "suite", DRAW_DATABASE_URL=url, DRAW_API_PORT=str(api_port)) as server,
        peers.orthanc(folder / "orthanc", server.port) as orthanc,
        hook_receiver.hook_receiver() as healthy,
        hook_receiver.faulty_receiver(hook_receiver.hang) as hanging,
    ):
        held = fill_peer(orthanc)
        node_id = prepare(web_url, orthanc, sink_port, (healthy.url, hanging))
        known, tally = Known(), Tally()
        senders = Senders(server, rate, known)
        activity = Activity(
            server.port, web_url, tally, known, sink=SINK, node_id=node_id,
            peer_studies={sent.study: len(sent.objects) for sent in held},
        )  # fmt: skip
        looking = watch.Watch(server.pids)
        logs = folder / "suite" / "home" / "logs"
        sizes, log_bytes = watch.tables(url), watch.folder_bytes(logs)
        began = time.monotonic()
        for part in (senders, activity, looking):
            part.start()
        time.sleep(minutes * 30)
        half, half_delivered = watch.statements(url), len(healthy.requests)
        time.sleep(max(0.0, began + minutes * 60 - time.monotonic()))
        looking.end()
        delivered = len(healthy.requests)
        end = watch.statements(url)
        activity.end(180)
        senders.end()
        seconds = time.monotonic() - began
        objects = sum(len(sent.objects) for sent in known.sent)
        judged = Judge(url, folder / "suite" / "home" / "storage", known, held)
        (folder / "failures.txt").write_text("\n".join(tally.failures), encoding="utf-8")
        findings = [judged.truth()]
        waiting = judged.waiting(healthy.url)
        findings += [
            verdict.failed(tally.answers, tally.failures + send_failures(known)),
            verdict.webhook((half_delivered, delivered - half_delivered), waiting),
            *verdict.leaks(looking.samples),
            verdict.growing(half, end),
        ]
        grown = watch.tables(url) | {"logs": watch.folder_bytes(logs) - log_bytes}
        sections = [
            verdict.table(
                ["what grows", "MB per million objects"], verdict.growth(sizes, grown, objects)
            ),
            verdict.table(
                ["statement", "calls", "seconds", "ms, first half", "ms, second half"],
                verdict.dearest(half, end),
            ),
        ]
        return Course(objects, seconds, findings, sections)


def prepare(web_url: str, orthanc: Server, sink_port: int, hooks: tuple[str, ...]) -> int:
    """Set up nodes and webhooks, and return the number of the node to retrieve from."""
    with signed_in(web_url) as client:
        numbers = {}
        for ae_title, port in ((SINK, sink_port), (orthanc.ae_title, orthanc.port)):
            node = {"name": ae_title, "ae_title": ae_title, "host": "127.0.0.1", "port": port}
            added = client.post("/api/v1/nodes", json=node).raise_for_status()
            numbers[ae_title] = int(added.json()["id"])
        for hook in hooks:
            wanted = {"url": hook, "kinds": KINDS}
            client.post("/api/v1/webhooks", json=wanted).raise_for_status()
    return numbers[orthanc.ae_title]


def send_failures(known: Known) -> list[str]:
    """Return what senders complained of."""
    return [f"C-STORE: {sent.failure}" for sent in known.sent if sent.failure]


class Judge:
    """Compares what was acknowledged with the index and the storage volume."""

    def __init__(self, url: str, storage: Path, known: Known, held: list[Sent]) -> None:
        self._url = url
        self._storage = storage
        self._wanted = {
            sop for sent in known.sent if sent.study not in known.deleted for sop in sent.objects
        }
        self._peers = {sent.study: sent.objects for sent in held}

    def truth(self) -> verdict.Finding:
        """Wait until the index has caught up, then compare."""
        wait_until(self._caught_up, CAUGHT_UP_SECONDS)
        rows = self._rows()
        # Which of the peer's studies are here depends on which were retrieved.
        ours = self._wanted | {sop for sops in self._peers.values() for sop in sops if sop in rows}
        files = {str(path.relative_to(self._storage)) for path in self._files()}
        paths = {sop: path for sop, (path, _) in rows.items()}
        sampled = sorted(rows)[:: max(1, len(rows) // SAMPLED_FILES)]
        wrong = [sop for sop in sampled if self._differs(*rows[sop])]
        return verdict.truth(ours, rows.keys(), paths, files, wrong)

    def waiting(self, hook: str) -> int:
        """Return how many deliveries a webhook has still to get after a while."""
        wait_until(lambda: self._pending(hook) == 0, CAUGHT_UP_SECONDS)
        return self._pending(hook)

    def _pending(self, hook: str) -> int:
        with psycopg.connect(self._url) as connection:
            row = connection.execute(PENDING, (hook,)).fetchone()
        return int(row[0]) if row else 0

    def _caught_up(self) -> bool:
        time.sleep(1)
        rows = self._rows()
        return self._wanted <= rows.keys() and len(list(self._files())) == len(rows)

    def _rows(self) -> dict[str, tuple[str, bytes]]:
        with psycopg.connect(self._url) as connection:
            return {row[0]: (row[1], row[2]) for row in connection.execute(INSTANCES)}

    def _files(self) -> Iterator[Path]:
        # An object whose name is just being given up by a deletion is filed with the conflicts.
        for folder in ("objects", "conflicts"):
            yield from (self._storage / folder).rglob("*.dcm")

    def _differs(self, path: str, digest: bytes) -> bool:
        # The hash covers the data set, which follows the meta group.
        try:
            held = (self._storage / path).read_bytes()
        except OSError:
            return True
        begin = 144 + int.from_bytes(held[140:144], "little")
        return hashlib.sha256(held[begin:]).digest() != digest


def main() -> int:
    """Run, print the verdict, and return 0 when all of it holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--rate", type=float, default=120, help="objects a second, in all")
    parser.add_argument("--folder", type=Path, help="where everything lies and stays")
    given = parser.parse_args()
    if given.folder:
        given.folder.mkdir(parents=True)
        course = run(given.folder, given.minutes, given.rate)
    else:
        with tempfile.TemporaryDirectory(prefix="draw-soak-") as name:
            course = run(Path(name), given.minutes, given.rate)
    rows = [
        [found.name, "holds" if found.holds else "BROKEN", found.words] for found in course.findings
    ]
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    rate = course.objects / course.seconds
    print(f"{course.seconds / 60:.0f} minutes, {course.objects:,} objects, {rate:.0f}/s\n")
    print(verdict.table(["finding", "", "what was seen"], rows), end="\n\n")
    print("\n\n".join(course.sections))
    return 0 if all(found.holds for found in course.findings) else 1


if __name__ == "__main__":
    sys.exit(main())
