"""A clean-up in a process of its own, to be killed at any moment.

Starting Python takes longer than what is to be interrupted, so one process that has
loaded everything forks a child each time.
"""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from draw_indexer.adapters.copies import FileCopies
from draw_indexer.adapters.deletions import StudyDeletions
from draw_indexer.services.clean_up import CleanUp, Rule
from draw_shared.db.session import Database


def run(database_url, root, days):
    """Delete everything beyond retention, and finish what a killed one has left."""
    database = Database(database_url)
    deletions = StudyDeletions(database, Path(root), replica="child")
    copies = FileCopies(database, Path(root))
    clean_up = CleanUp(deletions, copies, lambda: Rule(True, days), lambda: 0, lambda _: None)
    clean_up.remove_files()
    while deletions.expired(days):
        clean_up.delete_expired()


def serve(database_url, root, days):
    """Fork a child for each line that comes; answer with its number, then with its end."""
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            # The log's lines are not answers.
            os.dup2(2, 1)
            try:
                run(database_url, root, int(days))
                status = 0
            finally:
                os._exit(status)
        print(pid, flush=True)
        _, end = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(end), flush=True)


class Children:
    """Starts one child after the other."""

    def __init__(self, process):
        self._process = process
        self._pid = None

    def start(self):
        """Start a child."""
        self._process.stdin.write("go\n")
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
def children(database_url, root, days):
    """Yield what starts children that clean up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.clean_up_child", database_url, str(root), str(days)],
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


if __name__ == "__main__":
    serve(*sys.argv[1:])
