"""Runs a real Celery worker as a process."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

TASK = "chain.start"
BROKER = "TEST_CELERY_BROKER"
OUTPUT = "TEST_CELERY_OUTPUT"


class Worker:
    """A running worker and what its task wrote down."""

    def __init__(self, process, output):
        self.process = process
        self._output = output

    def received(self):
        """Return what the task was started with, once for each start."""
        if not self._output.exists():
            return []
        return [json.loads(line) for line in self._output.read_text().splitlines()]


@contextmanager
def celery_worker(broker_url, folder, queue="celery"):
    """Yield a worker of one queue; it ends with the block."""
    output = folder / "celery-received.jsonl"
    environment = os.environ | {
        BROKER: broker_url,
        OUTPUT: str(output),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    words = ["-A", "support.celery_app", "worker", "-P", "solo", "-Q", queue, "-l", "WARNING"]
    quiet = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    with (folder / "celery.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *words, *quiet],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Worker(process, output)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
