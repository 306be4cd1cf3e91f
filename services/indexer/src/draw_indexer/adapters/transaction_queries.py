"""Writes the transaction log, and maintains its partitions and its hash chain."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Final, Self

import structlog
from sqlalchemy import Connection, text

from draw_indexer.adapters.index_queries import translate_refusals
from draw_indexer.metrics import IndexerMetrics
from draw_indexer.settings import IndexerSettings
from draw_shared.contracts.transaction import (
    CUT,
    FINDINGS,
    TransactionKind,
    TransactionOutcome,
    TransactionRecord,
)
from draw_shared.db import deletion, partitions, store_statistics, transaction_chain
from draw_shared.db.guard import require_served_schema
from draw_shared.db.seals import Keyring, NotSealed
from draw_shared.db.session import Database
from draw_shared.db.transaction_chain import Head, Sealing
from draw_shared.storage.sealed_head import SealedHead, SealedHeadFile

log = structlog.get_logger()

MONTHS_AHEAD: Final = 3
TRUSTED_SECONDS: Final = 10.0
"""How much earlier than its line arrives an association may have ended: clocks differ."""
NOTE_ENDS: Final = text(
    """
    INSERT INTO association_ends (association_id, released, objects, ended_at)
    SELECT id, released, objects,
        greatest(least(ended, now()), now() - make_interval(secs => :trusted))
    FROM unnest(CAST(:ids AS text[]), CAST(:released AS boolean[]), CAST(:objects AS int[]),
        CAST(:ended AS timestamptz[])) AS k (id, released, objects, ended)
    ORDER BY id ON CONFLICT DO NOTHING
    """
)


class PostgresTransactionChain:
    """The table `transactions`.

    Args:
        database: the database that holds the table.
        seals: seals the lines; None writes them unsealed.
    """

    def __init__(self, database: Database, seals: "Seals | None" = None) -> None:
        self._database = database
        self._seals = seals
        self._appended: Head | None = None

    def write(self, records: Sequence[TransactionRecord]) -> int:
        """Write and chain the lines that are not there yet, and return how many those were.

        Raises:
            DatabaseUnavailable: nothing is written.
            Refused: PostgreSQL rejects these lines.
        """
        rows = [record.model_dump(mode="json", exclude_none=True) for record in records]
        # PostgreSQL's text type cannot hold NUL.
        document = json.dumps(rows, separators=(",", ":")).replace("\\u0000", "")
        sealing = self._sealing()
        with translate_refusals(), self._database.session() as session:
            require_served_schema(session)
            head = transaction_chain.append(session.connection(), document, sealing)
            _note_ends(session.connection(), records)
            session.commit()
        if head is None:
            return 0
        self._appended = head
        self._record_head(head)
        return head.added

    def make_partitions(self) -> list[str]:
        """Create the partitions of the coming months and return the names of new ones.

        Raises:
            DatabaseUnavailable: no partition is created.
        """
        with self._database.session() as session:
            require_served_schema(session)
            made = partitions.ensure_months(
                session.connection(), datetime.now(UTC).date(), ahead=MONTHS_AHEAD
            )
            session.commit()
        return made

    def drop_months(self, months_kept: int, replica: str) -> partitions.Dropped | None:
        """Drop the months older than this many whole months before the current one.

        Raises:
            DatabaseUnavailable: no month is dropped.
        """
        first = partitions.first_kept(datetime.now(UTC).date(), months_kept=months_kept)
        sealing = self._sealing()
        with self._database.session() as session:
            require_served_schema(session)
            dropped = partitions.drop_before(
                session.connection(), first, replica=replica, sealing=sealing
            )
            deletion.forget_old(session.connection(), first)
            session.commit()
        return dropped

    def extend_chain(self) -> Head | None:
        """Add to the hash chain the lines that it lacks; return its head if it grew.

        Raises:
            DatabaseUnavailable: the chain is unchanged.
        """
        if self._seals is not None:
            self._seals.look()
        sealing = self._sealing()
        with self._database.session() as session:
            head = transaction_chain.extend(session.connection(), sealing)
            session.commit()
        appended, self._appended = self._appended, None
        if head is not None:
            self._record_head(head)
        if self._seals is not None:
            self._seals.keep()
        if head is not None:
            return head
        # Lines appended since then are counted already.
        return replace(appended, added=0) if appended else None

    def count_next_day(self) -> date | None:
        """Count the statistics of a day from before there were any; None if none is left.

        Raises:
            DatabaseUnavailable: nothing is counted.
        """
        with self._database.session() as session:
            require_served_schema(session)
            day = store_statistics.count_next_day(session.connection())
            session.commit()
        return day

    def _sealing(self) -> Sealing | None:
        """Return the sealing, once the log says that sealing has begun."""
        if self._seals is None:
            return None
        if not self._seals.begun:
            self._seals.look()
            with self._database.session() as session:
                require_served_schema(session)
                head = partitions.begin_sealing(session.connection(), self._seals.sealing)
                session.commit()
            self._seals.begun = True
            if head is not None:
                self._record_head(head)
        return self._seals.sealing

    def _record_head(self, head: Head) -> None:
        if self._seals is not None:
            self._seals.record_head(head)


def _note_ends(connection: Connection, records: Sequence[TransactionRecord]) -> None:
    """Record which associations that stored objects have ended."""
    ends = [r for r in records if r.kind is TransactionKind.ASSOCIATION and r.objects]
    if ends:
        connection.execute(
            NOTE_ENDS,
            {
                "ids": [end.association_id for end in ends],
                "released": [end.outcome is TransactionOutcome.SUCCESS for end in ends],
                "objects": [end.objects for end in ends],
                "ended": [end.occurred_at for end in ends],
                "trusted": TRUSTED_SECONDS,
            },
        )


class Seals:
    """This process's keys for sealing, and the newest sealed head that it knows.

    Args:
        keyring: the keys.
        file: stores the newest head outside the database, for all processes.
        replica: this process.
        found: called with the action of each line in which the log reports a fault of its own.
    """

    def __init__(
        self,
        keyring: Keyring,
        file: SealedHeadFile,
        replica: str,
        found: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._file = file
        self._found = found
        self.sealing = Sealing(keyring, replica)
        self.begun = False
        """Whether the log is known to say that sealing has begun."""
        self._cut = False
        self._kept: Head | None = None

    @classmethod
    def of(cls, settings: IndexerSettings, metrics: IndexerMetrics) -> Self | None:
        """Return the seals of a process with these settings; None when it has no key."""
        keyring = settings.keyring()
        if keyring is None:
            return None
        file = SealedHeadFile(settings.sealed_head(), settings.replica)
        made = cls(keyring, file, settings.replica, metrics.count_fault)
        metrics.show_sealed(lambda: made.position)
        return made

    @property
    def position(self) -> int:
        """The position of the newest sealed line that is known; 0 means none yet."""
        known = self.sealing.known
        return known.position if known else 0

    def record_head(self, head: Head) -> None:
        """Record a committed head, and report the faults that the log recorded up to it."""
        self.sealing = replace(self.sealing, known=head)
        for action in head.said:
            if action in FINDINGS:
                log.error("transactions.found", action=action, position=head.position)
                self._found(action)
        self._cut = self._cut or CUT in head.said

    def look(self) -> None:
        """Read the stored head, in case another process has sealed since."""
        kept = None if self._cut else self._file.kept()
        known = self.sealing.known
        if kept is None or (known is not None and kept.position <= known.position):
            return
        head = _head_of(kept, self.sealing.keyring)
        if head is not None:
            self.sealing = replace(self.sealing, known=head)

    def keep(self) -> None:
        """Store the newest head outside the database, unless a newer one is stored there."""
        known = self.sealing.known
        if known is None or known == self._kept:
            return
        try:
            kept = self._file.kept()
            if self._cut or kept is None or kept.position < known.position:
                seal = (known.seal or b"").hex()
                self._file.keep(SealedHead(known.position, known.chain_hash.hex(), seal))
        except OSError as error:
            log.error("transactions.head_not_kept", reason=error.strerror)  # noqa: TRY400 - said
            return
        self._kept, self._cut = known, False


def _head_of(kept: SealedHead, keyring: Keyring) -> Head | None:
    """Return a stored head, if these keys have sealed it."""
    try:
        chain_hash, seal = bytes.fromhex(kept.chain_hash), bytes.fromhex(kept.seal)
        keyring.lines_sealed(seal, kept.position, chain_hash)
    except (NotSealed, ValueError, OverflowError) as error:
        log.error("transactions.kept_head_unreadable", reason=str(error))  # noqa: TRY400 - said
        return None
    return Head(kept.position, chain_hash, seal=seal)
