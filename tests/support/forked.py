"""Work in processes of their own, to be killed at any moment or at a given step.

Starting Python takes longer than what is to be interrupted, so one process that has
loaded everything forks a child each time.
"""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

from sqlalchemy import event
from sqlalchemy.engine import Engine

FILE_STEPS = {"os.rename", "os.remove", "os.link", "os.utime", "os.rmdir", "os.mkdir"}
"""Audit events of what changes the storage volume."""


def serve(run):
    """Fork a child for each line that comes and run it there with the line's words.

    Answers with the child's number, then with its end.
    """
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            # The log's lines are not answers.
            os.dup2(2, 1)
            try:
                run(*line.split())
                status = 0
            finally:
                os._exit(status)
        print(pid, flush=True)
        _, end = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(end), flush=True)


def die_before_step(number):
    """Kill this process right before the nth change of a file or commit from now on."""
    left = number

    def step(*_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(lambda name, _: step() if name in FILE_STEPS else None)
    event.listen(Engine, "commit", step)


class Children:
    """Starts one child after the other."""

    def __init__(self, process):
        self._process = process
        self._pid = None

    def start(self, *words):
        """Start a child."""
        self._process.stdin.write(" ".join(["go", *map(str, words)]) + "\n")
        self._process.stdin.flush()
        self._pid = int(self._process.stdout.readline())

    def kill(self):
        """Kill the child, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def end(self):
        """Wait for the child and return its exit code, -9 when it was killed."""
        return int(self._process.stdout.readline())


@contextmanager
def children(module, *words):
    """Yield what starts children of this module, which calls `serve` when it is run."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Children(process)
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
