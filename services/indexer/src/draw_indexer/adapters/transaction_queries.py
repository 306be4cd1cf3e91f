"""Writes the transaction log, and keeps its partitions and its hash chain."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from draw_indexer.adapters.index_queries import refusals
from draw_shared.contracts.transaction import TransactionRecord
from draw_shared.db import partitions, transaction_chain
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database

MONTHS_AHEAD: Final = 3


class PostgresTransactions:
    """The table `transactions`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._appended: transaction_chain.Head | None = None

    def write(self, records: Sequence[TransactionRecord]) -> int:
        """Write and chain lines that are not there yet, and return how many those were.

        Raises:
            DatabaseUnavailable: nothing is written.
            Refused: PostgreSQL does not take these lines.
        """
        rows = [record.model_dump(mode="json", exclude_none=True) for record in records]
        # A NUL cannot be in a text of PostgreSQL's.
        document = json.dumps(rows, separators=(",", ":")).replace("\\u0000", "")
        with refusals(), self._database.session() as session:
            require_served_schema(session)
            head = transaction_chain.append(session.connection(), document)
            session.commit()
        if head is None:
            return 0
        self._appended = head
        return head.added

    def make_partitions(self) -> list[str]:
        """Make the partitions of the coming months and return the names of new ones.

        Raises:
            DatabaseUnavailable: none is made.
        """
        with self._database.session() as session:
            require_served_schema(session)
            made = partitions.ensure_months(
                session.connection(), datetime.now(UTC).date(), ahead=MONTHS_AHEAD
            )
            session.commit()
        return made

    def drop_months(self, months_kept: int, replica: str) -> partitions.Dropped | None:
        """Drop the months beyond so many whole ones before the current one.

        Raises:
            DatabaseUnavailable: none is dropped.
        """
        first = partitions.first_kept(datetime.now(UTC).date(), months_kept=months_kept)
        with self._database.session() as session:
            require_served_schema(session)
            dropped = partitions.drop_before(session.connection(), first, replica=replica)
            session.commit()
        return dropped

    def extend_chain(self) -> transaction_chain.Head | None:
        """Add lines that are not in the hash chain yet; return its head if it grew.

        Raises:
            DatabaseUnavailable: the chain is as before.
        """
        with self._database.session() as session:
            head = transaction_chain.extend(session.connection())
            session.commit()
        appended, self._appended = self._appended, None
        if head is not None:
            return head
        # What was appended since is counted already.
        return replace(appended, added=0) if appended else None
