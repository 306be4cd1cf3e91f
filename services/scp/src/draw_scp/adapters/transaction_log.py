"""Keeps the audit trail on disk until the broker has it.

Records are appended, one JSON line each, to a piece of the log in the spool folder; a
piece is completed each second or every 500 records, published as one message and removed
when the broker has confirmed it. Pieces that a crash left are published after the next
start. A record survives the end of the process after the next `flush`; a power cut may
lose the last seconds, because pieces are not synced: they are no acknowledged data.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol
from uuid import NAMESPACE_OID, uuid4, uuid5

import structlog
from pydantic import ValidationError
from pydantic_core import to_json

from draw_scp.models import Transaction
from draw_shared.contracts.envelope import Message
from draw_shared.contracts.transaction import TransactionRecord, TransactionsRecordedV1
from draw_shared.runtime.periodic import Periodic
from draw_shared.storage import spool
from draw_shared.storage.incoming import spool_name

log = structlog.get_logger()

MOST_RECORDS: Final = 500
INTERVAL_SECONDS: Final = 1.0
MOST_UNCONFIRMED: Final = 20
"""Pieces handed to the publisher at a time."""


class Publisher(Protocol):
    """The way to the broker."""

    @property
    def connected(self) -> bool:
        """Whether messages can leave now."""

    def publish(self, message: Message, on_confirm: Callable[[bool], None]) -> None:
        """Hand a message over; `on_confirm` is called once, later, on another thread."""


class TransactionLog:
    """The audit trail of this replica."""

    name = "transaction-log"

    def __init__(self, folder: Path, publisher: Publisher, replica: str) -> None:
        self._folder = folder
        self._publisher = publisher
        self._replica = replica
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._path = ""
        self._count = 0
        self._lines: list[bytes] = []
        self._published: set[str] = set()
        self._periodic = Periodic(self.name, self._turn, interval_seconds=INTERVAL_SECONDS)

    def record(self, transaction: Transaction) -> None:
        """Keep one record until the next flush; never waits for the disk."""
        known = transaction._asdict()
        known["occurred_at"] = datetime.fromtimestamp(transaction.occurred_at, UTC)
        # A TransactionRecord as JSON. Thousands come a second: it is validated when it is read.
        record = {"record_id": uuid4(), "replica": self._replica, **known}
        self._lines.append(to_json(record, exclude_none=True) + b"\n")

    def flush(self) -> None:
        """Write what was recorded; a disk that is full loses it, with a line in the log."""
        with self._lock:
            while self._lines:
                lines = self._lines[:MOST_RECORDS]
                del self._lines[: len(lines)]
                try:
                    self._write(lines)
                except OSError as error:
                    log.warning(
                        "transaction.not_recorded",
                        error=os.strerror(error.errno or 0),
                        records=len(lines),
                    )

    def _write(self, lines: list[bytes]) -> None:
        if self._descriptor is None:
            self._open()
        os.write(self._opened, b"".join(lines))
        self._count += len(lines)
        if self._count >= MOST_RECORDS:
            self._close_segment()

    def start(self) -> None:
        """Publish what was left, and go on with what comes."""
        spool.close_segments(self._folder)
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Hand the last piece over; what is not confirmed stays on disk."""
        self._periodic.stop(deadline_seconds)
        self._turn()

    @property
    def _opened(self) -> int:
        if self._descriptor is None:
            raise RuntimeError("no piece of the log is open")
        return self._descriptor

    def _open(self) -> None:
        self._path = f"{self._folder}/{spool_name()}{spool.OPEN_SEGMENT}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o640)
        self._count = 0

    def _close_segment(self) -> None:
        os.close(self._opened)
        self._descriptor = None
        Path(self._path).rename(self._path.removesuffix(spool.OPEN_SEGMENT) + spool.SEGMENT)

    def _turn(self) -> None:
        self.flush()
        with self._lock:
            if self._descriptor is not None:
                self._close_segment()
        if not self._publisher.connected:
            return
        for path in spool.segments(self._folder):
            if len(self._published) >= MOST_UNCONFIRMED:
                return
            if path not in self._published:
                self._publish(path)

    def _publish(self, path: str) -> None:
        try:
            records = _records(Path(path).read_bytes())
        except FileNotFoundError:
            return
        if not records:
            Path(path).unlink(missing_ok=True)
            return
        event = TransactionsRecordedV1(
            # The same piece published twice is the same event.
            event_id=uuid5(NAMESPACE_OID, f"{self._replica}:{Path(path).name}"),
            occurred_at=datetime.now(UTC),
            replica=self._replica,
            records=records,
        )
        self._published.add(path)
        self._publisher.publish(event, lambda good: self._confirmed(path, good=good))

    def _confirmed(self, path: str, *, good: bool) -> None:
        if good:
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
        self._published.discard(path)


def _records(raw: bytes) -> tuple[TransactionRecord, ...]:
    """Return the records of a piece; a line that a crash cut short is left out."""
    found: list[TransactionRecord] = []
    for line in raw.splitlines():
        with suppress(ValidationError):
            found.append(TransactionRecord.model_validate_json(line))
    return tuple(found)
