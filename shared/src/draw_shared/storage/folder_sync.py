"""Syncs of folders, shared by everybody who waits for one."""

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

MIN_SHARED_SYNC_SECONDS: Final = 0.001
"""Below this, waking whoever waits for a shared sync costs more than a sync of its own."""
REMEMBERED: Final = 8
"""About how many syncs count for what is usual."""


class FolderSync:
    """Syncs one folder for many threads.

    Where syncs are slow, whoever waits is served by the next sync to begin; where they are
    quick, each thread does its own.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._usual_seconds = MIN_SHARED_SYNC_SECONDS
        self._condition = threading.Condition()
        self._asked = 0
        self._done = 0
        self._running = False

    def sync(self) -> None:
        """Return when everything this thread did in the folder before is on stable storage.

        Raises:
            OSError: the sync failed; nothing may be acknowledged.
        """
        if self._usual_seconds < MIN_SHARED_SYNC_SECONDS:
            self._sync()
            return
        with self._condition:
            self._asked += 1
            mine = self._asked
            while self._done < mine and self._running:
                self._condition.wait()
            if self._done >= mine:
                return
            self._running = True
            serves = self._asked
        failed = True
        try:
            self._sync()
            failed = False
        finally:
            with self._condition:
                self._running = False
                if not failed:
                    self._done = max(self._done, serves)
                self._condition.notify_all()

    def _sync(self) -> None:
        began = time.perf_counter()
        os.fsync(self._descriptor)
        # Threads may overwrite each other's estimate: it is only one.
        self._usual_seconds += (time.perf_counter() - began - self._usual_seconds) / REMEMBERED


def sync_folders(folders: Iterable[str]) -> None:
    """Return when the entries of these folders are on stable storage; gone ones do not matter.

    Raises:
        OSError: a sync failed.
    """
    for folder in folders:
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
