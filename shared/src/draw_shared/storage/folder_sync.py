"""Syncs folders; threads that wait at the same time share one sync."""

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

MIN_SHARED_SYNC_SECONDS: Final = 0.001
"""Below this duration, a sync of its own costs a thread less than waiting for a shared one."""
REMEMBERED: Final = 8
"""Number of recent syncs that the moving average of the duration covers, roughly."""


class FolderSync:
    """Syncs one folder for many threads.

    Where syncs are slow, the next sync to begin serves all waiting threads; where they are
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
        """Return when all earlier changes of this thread in the folder are on stable storage.

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
        # Threads may overwrite each other's value; an estimate tolerates that.
        self._usual_seconds += (time.perf_counter() - began - self._usual_seconds) / REMEMBERED


def sync_folders(folders: Iterable[str]) -> None:
    """Return when the entries of these folders are on stable storage; missing ones are skipped.

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
