"""How deliveries do while a destination is away: it gets everything, and others do not wait.

    PYTHONPATH=tests:. python -m bench.deliveries [--series 120] [--every 5] [--gap 600]

Two of DCMTK's storescp are destinations of a rule for everything. The same stream of series is sent
three times: while both are there; while one is away for a time; and as one burst while it is away
for what looks like a weekend, beside a burst while it is there.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.objects import write_series
from bench.peers import wait_for_port
from support import service_finder
from support.suite import AE_TITLE, Suite, signed_in
from tools.processes import free_port, wait_until

SIDE: Final = 64
"""Pixels of a row and of a column."""
GIVE_UP_SECONDS: Final = 3600.0
CONFIG_SECONDS: Final = 2.0
"""After which the indexer knows changed rules."""
MAX_RATIO: Final = 1.2
MAX_OTHERS_RATIO: Final = 1.1
SINCE: Final = "SELECT coalesce(max(id), 0) AS id FROM deliveries"
UNFINISHED: Final = "SELECT 1 AS one FROM deliveries WHERE finished_at IS NULL LIMIT 1"
ENDED: Final = """
    SELECT destination, state, extract(epoch FROM finished_at - created_at)::float AS seconds
    FROM deliveries WHERE id > :since AND instance_count > 0 ORDER BY finished_at, id
"""
OTHERS_OPEN: Final = (
    "SELECT 1 AS one FROM deliveries WHERE destination = :name AND finished_at IS NULL LIMIT 1"
)
WEEKEND_PASSES: Final = (
    "UPDATE deliveries SET created_at = created_at - interval '60 hours' WHERE finished_at IS NULL"
)
NOT_IN_ORDER: Final = """
    SELECT count(*) AS late FROM deliveries d WHERE id > :since AND EXISTS (
        SELECT FROM deliveries e WHERE e.id > :since AND e.destination = d.destination
            AND e.created_at < d.created_at AND e.finished_at > d.finished_at)
"""


class Destination:
    """A storescp that keeps nothing; it can go away and come back."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.port = free_port()
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listen."""
        command = ["storescp", "--fork", "--ignore", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """Listen no more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one stream."""

    seconds: float
    """From its first object until everything was delivered."""
    after_return_seconds: float
    """From the return of what was away until everything was delivered."""
    p95_seconds: dict[str, float]
    """Of a delivery from its making to its end, by destination."""


class Experiment:
    """A suite with two destinations and a supply of series."""

    def __init__(self, suite: Suite, away: Destination, other: Destination, home: Path) -> None:
        self._suite = suite
        self._away = away
        self._other = other
        self._home = home
        self._sent = 0

    def stream(self, series: int, objects: int, every: float) -> Outcome:
        """Send so many series, one in every so many seconds, and wait until all are delivered.

        Raises:
            RuntimeError: something was not delivered.
        """
        return self._send_all(series, objects, every, lambda began: began)

    def with_gap(self, series: int, objects: int, every: float, gap: float) -> Outcome:
        """Do the same while the first destination is away for `gap` seconds, from the second on.

        Raises:
            RuntimeError: something was not delivered.
        """
        went = threading.Timer(every, self._away.stop)
        came = threading.Timer(every + gap, self._away.start)
        went.start()
        came.start()

        def returned(began: float) -> float:
            came.join()
            return began + every + gap

        return self._send_all(series, objects, every, returned)

    def after_weekend(self, series: int, objects: int) -> Outcome:
        """Send all while the first destination is away, and let it come back after a weekend.

        Raises:
            RuntimeError: something was not delivered.
        """
        self._away.stop()

        def returned(_: float) -> float:
            wait_until(lambda: not self._suite.rows(OTHERS_OPEN, name=self._other.name))
            self._suite.execute(WEEKEND_PASSES)
            self._away.start()
            return time.monotonic()

        return self._send_all(series, objects, 0.0, returned)

    def _send_all(
        self, series: int, objects: int, every: float, returned: Callable[[float], float]
    ) -> Outcome:
        folders = [self._series(objects) for _ in range(series)]
        since = self._suite.rows(SINCE)[0]["id"]
        began = time.monotonic()
        for number, folder in enumerate(folders):
            time.sleep(max(0.0, began + number * every - time.monotonic()))
            self._send(folder)
        there_again = returned(began)
        if not wait_until(lambda: self._all_ended(since, 2 * series), GIVE_UP_SECONDS):
            raise RuntimeError("not everything was delivered")
        ended = time.monotonic()
        rows = self._suite.rows(ENDED, since=since)
        if {row["state"] for row in rows} != {"delivered"}:
            raise RuntimeError(f"not everything was delivered: {rows}")
        younger_first = self._suite.rows(NOT_IN_ORDER, since=since)[0]["late"]
        print(f"  {younger_first} of {2 * series} were delivered after a younger one")
        return Outcome(
            ended - began,
            ended - there_again,
            {name: _p95(rows, name) for name in (self._away.name, self._other.name)},
        )

    def _all_ended(self, since: int, expected: int) -> bool:
        made = len(self._suite.rows(ENDED, since=since))
        return made >= expected and not self._suite.rows(UNFINISHED)

    def _series(self, objects: int) -> Path:
        self._sent += 1
        return write_series(
            self._home / f"series{self._sent}", objects=objects, side=SIDE, seed=self._sent
        )

    def _send(self, folder: Path) -> None:
        command = ["storescu", "-aec", AE_TITLE, "127.0.0.1", str(self._suite.dicom_port)]
        subprocess.run([*command, "+sd", str(folder)], check=True)


def _p95(rows: Sequence[dict[str, Any]], destination: str) -> float:
    waits = sorted(row["seconds"] for row in rows if row["destination"] == destination)
    return float(waits[int(0.95 * (len(waits) - 1))])


@contextmanager
def _experiment(home: Path) -> Iterator[Experiment]:
    url = service_finder.postgres_url()
    template = service_finder.migrated_template(url)
    away, other = Destination(home, "first"), Destination(home, "second")
    with (
        service_finder.cloned_database(url, template) as database,
        service_finder.broker().vhost() as broker,
    ):
        suite = Suite(home / "suite", database, broker)
        suite.seed()
        try:
            away.start()
            other.start()
            suite.start()
            with signed_in(suite.web_url) as admin:
                for one in (away, other):
                    node = {"name": one.name, "ae_title": "STORESCP", "host": "127.0.0.1"}
                    admin.post("/api/v1/nodes", json=node | {"port": one.port}).raise_for_status()
                names = [away.name, other.name]
                document = {
                    "destinations": [
                        {"kind": "node", "name": name, "remote_node": name} for name in names
                    ],
                    "rules": [{"name": "all", "destinations": names}],
                }
                put = admin.put("/api/v1/routing", json=document, headers={"If-Match": "*"})
                put.raise_for_status()
            time.sleep(CONFIG_SECONDS)
            yield Experiment(suite, away, other, home)
        finally:
            suite.end()
            away.stop()
            other.stop()


def main() -> int:
    """Print the figures and a verdict; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=120)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two series")
    parser.add_argument("--gap", type=float, default=600.0, help="seconds of absence")
    parser.add_argument("--backlog", type=int, default=480, help="series of a weekend")
    parser.add_argument("--only-weekend", action="store_true", help="leave the gap out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, _experiment(Path(home)) as experiment:
        ratios = _weekend(experiment, given.backlog, given.objects)
        if not given.only_weekend:
            ratios |= _gap(experiment, given.series, given.objects, given.every, given.gap)
    for words, (ratio, most) in ratios.items():
        print(f"{words}: {ratio:.2f} times, at most {most} wanted")
    return int(any(ratio > most for ratio, most in ratios.values()))


def _gap(
    experiment: Experiment, series: int, objects: int, every: float, gap_seconds: float
) -> dict[str, tuple[float, float]]:
    """Return ratios, and how large they may be, by what they compare."""
    print(f"{series} series of {objects} CT, one in {every:g} s, both there")
    gapless = experiment.stream(series, objects, every)
    print(f"the same, one away for {gap_seconds:g} s")
    gap = experiment.with_gap(series, objects, every, gap_seconds)
    return {
        f"everything delivered, {gapless.seconds:.1f} s without and {gap.seconds:.1f} s with the"
        f" gap ({gap.after_return_seconds:.1f} s after its end)": (
            gap.seconds / gapless.seconds,
            MAX_RATIO,
        ),
        f"p95 of the other destination, {gapless.p95_seconds['second']:.2f} s without and"
        f" {gap.p95_seconds['second']:.2f} s with the gap": (
            gap.p95_seconds["second"] / gapless.p95_seconds["second"],
            MAX_OTHERS_RATIO,
        ),
    }


def _weekend(experiment: Experiment, series: int, objects: int) -> dict[str, tuple[float, float]]:
    """Return the ratio, and how large it may be, by what it compares."""
    print(f"{series} series of {objects} CT as one burst, both there")
    burst = experiment.stream(series, objects, 0.0)
    print("as one burst, one away for a weekend")
    weekend = experiment.after_weekend(series, objects)
    return {
        f"a weekend's backlog, {burst.seconds:.1f} s without and"
        f" {weekend.after_return_seconds:.1f} s after its end": (
            weekend.after_return_seconds / burst.seconds,
            MAX_RATIO,
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
