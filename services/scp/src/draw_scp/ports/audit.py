"""Ports of the audit trail: records that may follow an event, and records that must precede it."""

from collections.abc import Sequence
from typing import Protocol

from draw_scp.models import TransactionLine


class TransactionRecorder(Protocol):
    """Keeps records until they are in the audit log."""

    def record(self, transaction: TransactionLine) -> None:
        """Keep one record; never waits. Records beyond the capacity are counted as lost."""


class DurableRecorder(Protocol):
    """Keeps records that must be on disk before the event they describe happens."""

    def keep(self, transactions: Sequence[TransactionLine]) -> None:
        """Return once these records will survive the end of this process.

        Raises:
            NotOnRecord: the disk has no space for all of them, not even in the reserve.
        """
