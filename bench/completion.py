"""How long after its release a series of CT slices lies complete in a folder that a rule names.

    PYTHONPATH=tests:. python -m bench.completion [--objects 300] [--rounds 10]

Starts the suite as it is configured at first, sends each series with DCMTK's storescu and measures
from the end of storescu, which is the release of its association.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

import pydicom

from bench.objects import write_series
from support import service_finder
from support.suite import AE_TITLE, Suite, signed_in
from tools.processes import wait_until

SIDE: Final = 256
"""Pixels of a row and of a column."""
GIVE_UP_SECONDS: Final = 120.0


def measure(suite: Suite, folder: Path, files: Path, objects: int) -> tuple[float, float]:
    """Return how long storing took, and how long after it the series was complete, in seconds.

    Raises:
        subprocess.CalledProcessError: it was not stored.
        RuntimeError: it was not handed over completely.
    """
    write_series(files, objects=objects, side=SIDE)
    one = pydicom.dcmread(next(files.iterdir()), stop_before_pixels=True)
    place = folder / str(one.SeriesInstanceUID)
    command = ["storescu", "-aec", AE_TITLE, "127.0.0.1", str(suite.dicom_port)]
    began = time.monotonic()
    subprocess.run([*command, "+sd", str(files)], check=True)
    released = time.monotonic()
    # The series' folder appears by one rename, with all that it has.
    wait_until(place.is_dir, GIVE_UP_SECONDS)
    complete = time.monotonic()
    there = len(list(place.iterdir())) if place.is_dir() else 0
    if there != objects:
        raise RuntimeError(f"{there} of {objects} objects in the folder")
    return released - began, complete - released


def main() -> None:
    """Print a line for each series, and the median and the worst of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    url = service_finder.postgres_url()
    template = service_finder.migrated_template(url)
    with (
        tempfile.TemporaryDirectory() as home,
        service_finder.cloned_database(url, template) as database,
        service_finder.broker().vhost() as broker,
    ):
        suite = Suite(Path(home) / "suite", database, broker)
        suite.seed()
        folder = Path(home) / "handler"
        try:
            suite.start()
            with signed_in(suite.web_url) as admin:
                destination = {"kind": "folder", "name": "handler", "path": str(folder)}
                rule = {"name": "all", "destinations": ["handler"]}
                sent = {"destinations": [destination], "rules": [rule]}
                put = admin.put("/api/v1/routing", json=sent, headers={"If-Match": "*"})
                put.raise_for_status()
            waits = []
            for number in range(given.rounds):
                files = Path(home) / f"series{number}"
                stored, waited = measure(suite, folder, files, given.objects)
                waits.append(waited)
                print(f"stored in {stored:.2f} s, complete {waited:.2f} s after the release")
            print(f"median {statistics.median(waits):.2f} s, worst {max(waits):.2f} s")
        finally:
            suite.end()


if __name__ == "__main__":
    main()
