"""The transaction log in PostgreSQL; lists go by keyset on time and identity."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, or_, select, text, tuple_
from sqlmodel import Session, col

from draw_api.models.paging import Page, decode_cursor, encode_cursor, foreign_cursor, page_of
from draw_api.models.peers import RejectedPeer
from draw_api.models.transactions import (
    ChainBreak,
    ChainReport,
    KnownHead,
    Transaction,
    TransactionCriteria,
)
from draw_shared.db import tables
from draw_shared.db.transaction_chain import Head, verify

T: Final = tables.Transaction

COLUMNS: Final[tuple[Any, ...]] = (
    T.id, T.occurred_at, T.record_id, T.kind, T.outcome, T.replica, T.association_id,
    T.calling_ae, T.called_ae, T.peer_address, T.status, T.duration_seconds, T.size_bytes,
    T.objects, T.sop_class_uid, T.sop_instance_uid, T.study_instance_uid, T.actor, T.action,
    T.detail,
)  # fmt: skip
REJECTED: Final = text(
    """
    SELECT calling_ae, coalesce(peer_address, '') AS peer_address, coalesce(detail, '') AS reason,
        count(*) AS count, min(occurred_at) AS first_seen, max(occurred_at) AS last_seen
    FROM transactions
    WHERE kind = 'rejection' AND occurred_at > now() - make_interval(days => :days)
    GROUP BY 1, 2, 3 ORDER BY last_seen DESC LIMIT :limit
    """
)


class PostgresTransactions:
    """The table `transactions`, within one transaction of the database."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    def page(
        self, criteria: TransactionCriteria, cursor: str | None, limit: int
    ) -> Page[Transaction]:
        """Return a page of lines, newest first."""
        query: Select[Any] = select(*COLUMNS).where(*_matching(criteria))
        if cursor is not None:
            query = query.where(tuple_(col(T.occurred_at), col(T.id)) < tuple_(*_key(cursor)))
        query = query.order_by(col(T.occurred_at).desc(), col(T.id).desc()).limit(limit + 1)
        rows = self._connection.execute(query).mappings().all()
        return page_of(
            [
                (
                    encode_cursor(row["occurred_at"].isoformat(), row["id"]),
                    Transaction.model_validate(row),
                )
                for row in rows
            ],
            limit,
        )

    def one(self, transaction_id: int) -> Transaction | None:
        """Return one line."""
        query = select(*COLUMNS).where(col(T.id) == transaction_id).limit(1)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else Transaction.model_validate(row)

    def verify(self, known: KnownHead | None) -> ChainReport:
        """Compute the chain of hashes again and compare."""
        kept = Head(known.position, bytes.fromhex(known.chain_hash)) if known else None
        found = verify(self._connection, kept)
        head = found.head
        return ChainReport(
            intact=not found.breaks,
            lines=found.lines,
            first_position=found.first_position,
            head=KnownHead(position=head.position, chain_hash=head.chain_hash.hex())
            if head
            else None,
            breaks=[ChainBreak(position=b.position, reason=b.reason) for b in found.breaks],
            lines_lost=found.lines_lost,
        )

    def rejected(self, days: int, limit: int) -> list[RejectedPeer]:
        """Return peers by AE title, address and reason, last seen first."""
        rows = self._connection.execute(REJECTED, {"days": days, "limit": limit}).mappings()
        return [RejectedPeer(**row, can_be_allowed=False) for row in rows]


def _matching(criteria: TransactionCriteria) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if criteria.kinds:
        found.append(col(T.kind).in_([str(kind) for kind in criteria.kinds]))
    if criteria.outcomes:
        found.append(col(T.outcome).in_([str(outcome) for outcome in criteria.outcomes]))
    if criteria.ae_title:
        found.append(
            or_(col(T.calling_ae) == criteria.ae_title, col(T.called_ae) == criteria.ae_title)
        )
    if criteria.uid:
        found.append(
            or_(
                col(T.sop_instance_uid) == criteria.uid,
                col(T.study_instance_uid) == criteria.uid,
                col(T.association_id) == criteria.uid,
            )
        )
    if criteria.since is not None:
        found.append(col(T.occurred_at) >= criteria.since)
    if criteria.until is not None:
        found.append(col(T.occurred_at) < criteria.until)
    equal = {
        T.peer_address: criteria.peer_address,
        T.actor: criteria.actor,
        T.action: criteria.action,
    }
    found += [col(column) == value for column, value in equal.items() if value]
    if criteria.status is not None:
        found.append(col(T.status) == criteria.status)
    return found


def _key(cursor: str) -> tuple[datetime, int]:
    moment, row_id = decode_cursor(cursor, (str, int))
    try:
        parsed = datetime.fromisoformat(str(moment))
    except ValueError:
        raise foreign_cursor() from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC), int(row_id)
