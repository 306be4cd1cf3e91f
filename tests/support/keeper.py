"""Keeps one private server alive for exactly as long as a test run.

`python -m support.keeper postgres|rabbitmq FOLDER PID` runs beside the tests, in a session
of its own. It writes `FOLDER/addresses.json` once the server answers, or `FOLDER/failure`, and
stops the server and removes the folder when the process PID is gone: however a test run ends,
nothing stays behind.
"""

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tools.local_postgres import LocalPostgres, StartFailed
from tools.local_rabbitmq import LocalRabbitmq
from tools.processes import started_at


def write_whole(path: Path, text: str) -> None:
    """Write a file that its readers see either whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.rename(path)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit


def _served(kind: str, folder: Path) -> tuple[LocalPostgres | LocalRabbitmq, dict[str, str]]:
    if kind == "postgres":
        postgres = LocalPostgres(folder / "server", durable=False)
        postgres.start()
        return postgres, {"url": postgres.url()}
    rabbitmq = LocalRabbitmq(folder / "server", management=True)
    rabbitmq.start()
    return rabbitmq, {"url": rabbitmq.url(), "management_url": rabbitmq.management_url}


def main(kind: str, folder: Path, watched: int) -> None:
    signal.signal(signal.SIGTERM, _end)
    born = started_at(watched)
    try:
        server, addresses = _served(kind, folder)
    except StartFailed as failure:
        write_whole(folder / "failure", str(failure))
        return
    try:
        write_whole(folder / "addresses.json", json.dumps(addresses))
        while started_at(watched) == born:
            time.sleep(0.3)
    finally:
        # Not killed: the kernel would keep PostgreSQL's shared memory.
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
        if not any(entry.is_dir() for entry in folder.parent.iterdir()):
            shutil.rmtree(folder.parent, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
