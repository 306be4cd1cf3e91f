"""Writes audit lines that must be on disk before the event they record happens.

Most lines are written by the announcing process, up to some seconds later
(`draw_scp.adapters.transaction_log`). The receiver itself writes these, to its own preallocated
segment, at the cost of a write to the page cache. They survive the end of the process but not a
power cut, like the others. Each second the segment is completed; the announcing process publishes
it with its own. Concurrency: any number of threads may write.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

from typing_extensions import override

from draw_scp.adapters.journal import SEGMENT_BYTES, Journal
from draw_scp.adapters.transaction_log import line_of
from draw_scp.models import NotOnRecord, TransactionLine
from draw_scp.ports.audit import DurableRecorder
from draw_shared.runtime.periodic import Periodic
from draw_shared.storage import spool
from draw_shared.wording import message

INTERVAL_SECONDS: Final = 1.0
RESERVE_BYTES: Final = 4 * SEGMENT_BYTES
"""Space for 2,000 lines on a full disk."""


class LinesAhead(DurableRecorder):
    """Segments of the audit trail, in addition to those of the announcing process."""

    name = "lines-ahead"

    def __init__(self, folder: Path, replica: str) -> None:
        self._replica = replica
        self._lock = threading.Lock()
        self._journal = Journal(
            folder,
            open_segment=spool.OPEN_AHEAD,
            reserve=spool.RESERVE_AHEAD,
            most_reserve_bytes=RESERVE_BYTES,
        )
        self._periodic = Periodic(self.name, self._turn, interval_seconds=INTERVAL_SECONDS)

    @override
    def keep(self, transactions: Sequence[TransactionLine]) -> None:
        lines = [line_of(one, uuid4(), self._replica) for one in transactions]
        with self._lock:
            written = self._journal.write(lines)
        if written < len(lines):
            raise NotOnRecord(message("the transaction log has no room"))

    def start(self) -> None:
        """Adopt the reserve, complete segments left by a crash; needs the spool folder's lock."""
        with self._lock:
            self._journal.start()
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Complete the last segment; it is published now or after the next start."""
        self._periodic.stop(deadline_seconds)
        self._turn()

    def _turn(self) -> None:
        with self._lock:
            self._journal.close()
            self._journal.fill_reserve()
