"""Ports of the audit trail: records that may follow, and records that must come first."""

from collections.abc import Sequence
from typing import Protocol

from draw_scp.models import TransactionLine


class TransactionRecorder(Protocol):
    """Keeps records until they are in the audit log."""

    def record(self, transaction: TransactionLine) -> None:
        """Keep one record; never waits. Records beyond the capacity are counted as lost."""


class DurableRecorder(Protocol):
    """Keeps records that must be kept before what they tell of happens."""

    def keep(self, transactions: Sequence[TransactionLine]) -> None:
        """Return once these records outlive this process.

        Raises:
            NotOnRecord: the disk takes some of them no more, not even in the reserve.
        """
