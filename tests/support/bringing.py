"""Peers that bring one series together, each over an association of its own."""

import threading
import time
from contextlib import suppress

from pydicom.uid import generate_uid

from support import datasets
from support.raw_stores import raw_association

PACE_SECONDS = 0.1


class Bringer(threading.Thread):
    """Brings objects of a series over one association, and knows when that ended.

    Args:
        waits_seconds: time between the last object and the release.
    """

    def __init__(self, port, series_uid, *, objects, waits_seconds=0.0):
        super().__init__(daemon=True)
        self._port, self._objects, self._waits = port, objects, waits_seconds
        self._made = datasets.build("CT", SeriesInstanceUID=series_uid, StudyInstanceUID=series_uid)
        self.acknowledged = set()
        self.released = False
        self.ended_at = 0.0

    def run(self):
        # A receiver that is killed breaks the association.
        with suppress(AssertionError, OSError), raw_association(self._port, self._made) as sender:
            for _ in range(self._objects):
                self._made.SOPInstanceUID = generate_uid()
                if sender.send(self._made) == 0:
                    self.acknowledged.add(str(self._made.SOPInstanceUID))
                time.sleep(PACE_SECONDS)
            time.sleep(self._waits)
            self.ended_at = time.time()
            sender.release()
            self.released = True
        self.ended_at = self.ended_at or time.time()
