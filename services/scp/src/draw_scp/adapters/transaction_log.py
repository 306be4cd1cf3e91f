"""Keeps the audit trail on disk until the broker has confirmed it.

Records are appended to a segment in the spool folder, one JSON line each. A segment is completed
each second or after 500 records, published as one message, and removed once the broker has
confirmed it. Segments left by a crash are published after the next start. A flushed record
survives the end of the process; a power cut may lose the last seconds, because segments are not
synced: audit records are not acknowledged data.

When even the reserved space is used up, a bounded number of lines is held in memory until there
is space again, and further ones are counted. A line of the log itself states how many are missing
and from which time. It is written, to its own place, as soon as the first line cannot be written,
so that it can be read even if the process ends before it can write the lines it holds.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import structlog
from pydantic import ValidationError
from pydantic_core import to_json

from draw_scp.adapters.journal import MAX_LINES, Journal, whole_lines
from draw_scp.models import LostLines, TransactionLine
from draw_shared.contracts.transaction import (
    LINES_LOST,
    TransactionKind,
    TransactionOutcome,
    TransactionRecord,
    TransactionsRecordedV1,
)
from draw_shared.messaging.publisher import Publisher
from draw_shared.runtime.periodic import Periodic
from draw_shared.storage import spool
from draw_shared.wording import message

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0
MAX_UNCONFIRMED: Final = 20
"""Segments handed to the publisher at a time."""
MAX_HELD: Final = 20_000
"""Lines held in memory while the disk has no space."""


class TransactionLog:
    """The audit trail of this replica."""

    name = "transaction-log"

    def __init__(
        self,
        folder: Path,
        publisher: Publisher,
        replica: str,
        lost: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._publisher = publisher
        self._replica = replica
        self._count_lost = lost
        self._lock = threading.Lock()
        self._journal = Journal(folder)
        self._recorded: deque[tuple[float, bytes]] = deque()
        self._held: deque[tuple[float, bytes]] = deque()
        self._lost: LostLines | None = None
        self._note_id: UUID | None = None
        """Id of the line that states the losses, while there is one."""
        self._short = False
        self._published: set[str] = set()
        self._periodic = Periodic(self.name, self._turn, interval_seconds=INTERVAL_SECONDS)

    @property
    def reserve_bytes(self) -> int:
        """Disk space that is reserved for further lines."""
        return self._journal.reserve_bytes

    def record(self, transaction: TransactionLine, record_id: UUID) -> None:
        """Keep one record until the next flush; never waits for the disk."""
        line = line_of(transaction, record_id, self._replica)
        self._recorded.append((transaction.occurred_at, line))

    def lose(self, lost: LostLines) -> None:
        """Count lines that another component had to give up."""
        with self._lock:
            self._add_lost(lost)

    def flush(self) -> None:
        """Write the recorded lines, as far as the disk has space."""
        with self._lock:
            self._held.extend(self._recorded.popleft() for _ in range(len(self._recorded)))
            while self._held and self._write(MAX_LINES):
                pass
            if self._held:
                self._give_up_the_youngest()
            self._tell_losses()

    def start(self) -> None:
        """Publish segments left by an earlier run, and begin the regular work."""
        with self._lock:
            self._journal.start()
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Hand over the last segment; unconfirmed segments stay on disk."""
        self._periodic.stop(deadline_seconds)
        self._turn()
        with self._lock:
            self._journal.close()
            self._journal.close_note()
            if self._held:
                log.warning("transaction.not_recorded", records=len(self._held))

    def _write(self, most: int) -> int:
        lines = [line for _, line in islice(self._held, most)]
        written = self._journal.write(lines)
        for _ in range(written):
            self._held.popleft()
        return written

    def _give_up_the_youngest(self) -> None:
        """Drop the youngest lines beyond the bound while nothing can be written."""
        times = [self._held.pop()[0] for _ in range(len(self._held) - MAX_HELD)]
        if times:
            self._add_lost(LostLines(len(times), min(times), max(times)))

    def _add_lost(self, lost: LostLines) -> None:
        self._lost = lost.merge(self._lost)
        self._count_lost(lost.lines)
        log.warning("transaction.not_recorded", records=lost.lines)

    def _tell_losses(self) -> None:
        """Write the line that states which lines are missing, or would be if we ended now."""
        missing = self._lost
        if self._held:
            missing = LostLines(len(self._held), self._held[0][0], self._held[-1][0]).merge(missing)
        if missing is None:
            if self._note_id is not None:
                self._journal.remove_note()
                self._note_id = None
            return
        self._note_id = self._note_id or uuid4()
        noted = self._journal.write_note(self._loss_line(self._note_id, missing))
        if noted and not self._held:
            self._journal.close_note()
            self._lost = self._note_id = None

    def _loss_line(self, record_id: UUID, lost: LostLines) -> bytes:
        first, last = (datetime.fromtimestamp(at, UTC) for at in (lost.first, lost.last))
        record = TransactionRecord(
            record_id=record_id,
            occurred_at=last,
            kind=TransactionKind.MANAGEMENT,
            outcome=TransactionOutcome.FAILURE,
            replica=self._replica,
            actor=self._replica,
            action=LINES_LOST,
            objects=lost.lines,
            detail=message(
                "lines lost: %(lines)s between %(first)s and %(last)s",
                lines=lost.lines,
                first=format(first, _MOMENT),
                last=format(last, _MOMENT),
            ),
        )
        return record.model_dump_json(exclude_none=True).encode() + b"\n"

    def _turn(self) -> None:
        self.flush()
        with self._lock:
            # While nothing can be published, a segment from the reserve is filled to its end: the
            # disk may have no space for another.
            if self._journal.reserved or self._publisher.connected:
                self._journal.close()
            self._look_after_reserve()
        if not self._publisher.connected:
            return
        for path in spool.segments(self._folder):
            if len(self._published) >= MAX_UNCONFIRMED:
                return
            if path not in self._published:
                self._publish(path)

    def _look_after_reserve(self) -> None:
        short = not self._journal.fill_reserve()
        if short and not self._short:
            log.warning("transactions.reserve_short", reserve_bytes=self.reserve_bytes)
        self._short = short

    def _publish(self, path: str) -> None:
        try:
            records, damaged = _records(Path(path).read_bytes())
        except FileNotFoundError:
            return
        if not records:
            self._done(path, damaged)
            return
        event = TransactionsRecordedV1(
            # Publishing the same segment twice makes the same event.
            event_id=uuid5(NAMESPACE_OID, f"{self._replica}:{Path(path).name}"),
            occurred_at=datetime.now(UTC),
            replica=self._replica,
            records=records,
        )
        self._published.add(path)
        self._publisher.publish(event, lambda good: self._confirmed(path, damaged, good=good))

    def _confirmed(self, path: str, damaged: int, *, good: bool) -> None:
        if good:
            self._done(path, damaged)
        self._published.discard(path)

    def _done(self, path: str, damaged: int) -> None:
        with self._lock, suppress(OSError):
            if damaged:
                written_at = Path(path).stat().st_mtime
                self._add_lost(LostLines(damaged, written_at, written_at))
                self._tell_losses()
            self._journal.recycle(path)


def line_of(transaction: TransactionLine, record_id: UUID, replica: str) -> bytes:
    """Return one record as a line of a journal: a `TransactionRecord` as JSON."""
    known = transaction._asdict()
    known["occurred_at"] = datetime.fromtimestamp(transaction.occurred_at, UTC)
    # Thousands are written per second, so a record is validated when it is read.
    record = {"record_id": record_id, "replica": replica, **known}
    return to_json(record, exclude_none=True) + b"\n"


_MOMENT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def _records(raw: bytes) -> tuple[tuple[TransactionRecord, ...], int]:
    """Return the records of a segment and the number of its unreadable lines.

    A crash may have cut the last line short.
    """
    found: list[TransactionRecord] = []
    lines, cut = whole_lines(raw)
    damaged = int(cut)
    for line in lines:
        try:
            found.append(TransactionRecord.model_validate_json(line))
        except ValidationError:
            damaged += 1
    return tuple(found), damaged
