"""The transaction log in PostgreSQL; lists use keyset pagination on time and identity.

A list examines a bounded number of lines: an index gives the newest lines for one criterion, and
those are checked for the others. Older matches are on one of the next pages.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    union_all,
)
from sqlmodel import Session, col
from typing_extensions import override

from draw_api.models.paging import Page, decode_cursor, encode_cursor, foreign_cursor, page_of
from draw_api.models.peers import RejectedPeer
from draw_api.models.transactions import (
    ChainBreak,
    ChainReport,
    KnownHead,
    LogFinding,
    Transaction,
    TransactionCriteria,
)
from draw_api.ports.peers import CallerRepository, CallerTraffic, RejectionRepository
from draw_api.ports.transactions import TransactionRepository
from draw_shared.contracts.transaction import TransactionOutcome
from draw_shared.db import tables
from draw_shared.db.seals import Keyring
from draw_shared.db.transaction_chain import Head
from draw_shared.db.transaction_verification import verify
from draw_shared.storage.sealed_head import SealedHeadFile

T: Final = tables.TransactionRow

COLUMNS: Final[tuple[Any, ...]] = (
    T.id, T.occurred_at, T.record_id, T.kind, T.outcome, T.replica, T.association_id,
    T.calling_ae, T.called_ae, T.peer_address, T.status, T.duration_seconds, T.size_bytes,
    T.objects, T.sop_class_uid, T.sop_instance_uid, T.study_instance_uid, T.actor, T.action,
    T.detail,
)  # fmt: skip
LOOKED_AT: Final = 20_000
"""The maximum of lines that one page examines."""
LOOKED_AT_FIRST: Final = 4000
"""Lines that mostly suffice, so that they are examined first."""
MAX_BRANCHES: Final = 4
"""Actions that are looked for one by one."""

Key = tuple[datetime, int]

# An attacker may be refused a million times; the newest lines suffice to identify them.
END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
REJECTED: Final = text(
    """
    SELECT calling_ae, coalesce(peer_address, '') AS peer_address, coalesce(detail, '') AS reason,
        count(*) AS count, min(occurred_at) AS first_seen, max(occurred_at) AS last_seen,
        coalesce((array_agg(called_ae ORDER BY occurred_at DESC, id DESC))[1], '') AS called_ae
    FROM (SELECT * FROM transactions
        WHERE kind = 'rejection' AND occurred_at > :since AND occurred_at < :until
        ORDER BY occurred_at DESC LIMIT :looked_at) newest
    WHERE CAST(:peer AS text) = '' OR calling_ae = :peer OR peer_address = :peer
    GROUP BY 1, 2, 3
    HAVING CAST(:before AS timestamptz) IS NULL
        OR (max(occurred_at), coalesce(calling_ae, ''), coalesce(peer_address, ''),
            coalesce(detail, '')) < (CAST(:before AS timestamptz), :ae, :address, :reason)
    ORDER BY last_seen DESC, coalesce(calling_ae, '') DESC, 2 DESC, 3 DESC LIMIT :limit
    """
)
CALLERS: Final = text(
    """
    SELECT calling_ae, coalesce(peer_address, '') AS peer_address, max(occurred_at) AS last_seen,
        count(*) AS associations, coalesce(sum(objects)
            FILTER (WHERE occurred_at > now() - interval '24 hours'), 0) AS objects_in_24_hours
    FROM (SELECT calling_ae, peer_address, occurred_at, objects FROM transactions
        WHERE kind = 'association' AND occurred_at > now() - make_interval(days => :days)
        ORDER BY occurred_at DESC LIMIT :looked_at) newest
    WHERE calling_ae IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC
    """
)
# With = the order would be that of time alone, in which who called long ago is far down.
LAST_SEEN: Final = text(
    """
    SELECT k.ae_title, l.occurred_at FROM unnest(CAST(:ae_titles AS text[])) AS k (ae_title)
    CROSS JOIN LATERAL (SELECT occurred_at FROM transactions t
        WHERE t.calling_ae >= k.ae_title AND t.calling_ae <= k.ae_title
        ORDER BY t.calling_ae DESC, occurred_at DESC LIMIT 1) l
    """
)


class PostgresTransactionRepository(TransactionRepository, RejectionRepository, CallerRepository):
    """The table `transactions`, within one database transaction.

    Args:
        session: the session of that transaction.
        keyring: checks seals; None checks only the chain.
        sealed_head: stores the newest sealed line outside the database.
    """

    def __init__(
        self,
        session: Session,
        keyring: Keyring | None = None,
        sealed_head: Path | None = None,
    ) -> None:
        self._connection = session.connection()
        self._keyring = keyring
        self._sealed_head = SealedHeadFile(sealed_head, "") if sealed_head and keyring else None

    @override
    def page(
        self, criteria: TransactionCriteria, cursor: str | None, limit: int
    ) -> Page[Transaction]:
        before = key_of(cursor) if cursor is not None else None
        if criteria.uid or criteria.studies:
            # Indexes find all of these at once. In one statement with the order, PostgreSQL would
            # read the log backwards until it has a page.
            found_by_uid = (
                select(*COLUMNS)
                .where(*_span(criteria, before), *_of_uids(criteria), *matching(criteria))
                .cte("of_uid")
                .prefix_with("MATERIALIZED")
            )
            of_uid = self._newest(select(found_by_uid), limit + 1, found_by_uid.c)
            return page_of([(cursor_to(row), _line(row)) for row in of_uid], limit)
        steps = (limit + 1,) if _is_indexed(criteria) else (LOOKED_AT_FIRST, LOOKED_AT)
        rows: Sequence[RowMapping] = ()
        for most in steps:
            looked_at = examine(criteria, before, COLUMNS, most).subquery()
            query: Select[Any] = select(looked_at).where(*matching(criteria, looked_at.c))
            rows = self._newest(query, limit + 1, looked_at.c)
            if len(rows) > limit:
                break
        found = page_of([(cursor_to(row), _line(row)) for row in rows], limit)
        if found.next_cursor is None and steps[-1] == LOOKED_AT:
            further = further_cursor(self._connection, criteria, before)
            return found.model_copy(update={"next_cursor": further})
        return found

    def _newest(
        self,
        query: Select[Any],
        most: int,
        columns: Any = T,  # noqa: ANN401 - a table or a subquery
    ) -> Sequence[RowMapping]:
        ordered = query.order_by(columns.occurred_at.desc(), columns.id.desc()).limit(most)
        return self._connection.execute(ordered).mappings().all()

    @override
    def one(self, transaction_id: int) -> Transaction | None:
        query = select(*COLUMNS).where(col(T.id) == transaction_id).limit(1)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else Transaction.model_validate(row)

    @override
    def verify(self, known: KnownHead | None) -> ChainReport:
        # Read before verifying: lines sealed meanwhile are newer than the stored head.
        kept = self._sealed_head.kept() if self._sealed_head else None
        heads = [Head(one.position, bytes.fromhex(one.chain_hash)) for one in (known, kept) if one]
        found = verify(self._connection, heads, self._keyring)
        head = found.head
        return ChainReport(
            intact=found.intact,
            sealed=found.sealed,
            as_found=found.as_found,
            lines=found.lines,
            first_position=found.first_position,
            head=KnownHead(position=head.position, chain_hash=head.chain_hash.hex())
            if head
            else None,
            breaks=[ChainBreak(position=b.position, reason=b.reason) for b in found.breaks],
            findings=[LogFinding(**asdict(finding)) for finding in found.findings],
            waiting=found.waiting,
            lines_lost=found.lines_lost,
        )

    @override
    def rejected(
        self,
        since: datetime,
        until: datetime | None,
        cursor: str | None,
        limit: int,
        *,
        peer: str = "",
    ) -> Page[RejectedPeer]:
        span = {"since": since, "until": until or END_OF_TIME, "peer": peer}
        values = span | {"limit": limit + 1, "looked_at": LOOKED_AT} | _rejected_before(cursor)
        rows = self._connection.execute(REJECTED, values).mappings()
        peers = [RejectedPeer(**row, can_be_allowed=False) for row in rows]
        return page_of([(_cursor_of(peer), peer) for peer in peers], limit)

    @override
    def callers(self, days: int) -> Sequence[CallerTraffic]:
        rows = self._connection.execute(CALLERS, {"days": days, "looked_at": LOOKED_AT})
        return [CallerTraffic(*row) for row in rows]

    @override
    def last_seen(self, ae_titles: Collection[str]) -> Mapping[str, datetime]:
        rows = self._connection.execute(LAST_SEEN, {"ae_titles": sorted(ae_titles)})
        return {row.ae_title: row.occurred_at for row in rows}


def _cursor_of(peer: RejectedPeer) -> str:
    seen = peer.last_seen.isoformat()
    return encode_cursor(seen, peer.calling_ae or "", peer.peer_address, peer.reason)


def _rejected_before(cursor: str | None) -> dict[str, object]:
    if cursor is None:
        return {"before": None, "ae": "", "address": "", "reason": ""}
    seen, *names = decode_cursor(cursor, (str, str, str, str))
    try:
        before = datetime.fromisoformat(str(seen))
    except ValueError:
        raise foreign_cursor() from None
    ae, address, reason = names
    return {"before": before, "ae": ae, "address": address, "reason": reason}


def further_cursor(
    connection: Connection, criteria: TransactionCriteria, before: Key | None
) -> str | None:
    """Return the cursor behind the last line that a page examines; None: there are no more."""
    looked_at = examine(criteria, before, (T.occurred_at, T.id)).subquery()
    last = select(looked_at).order_by(looked_at.c.occurred_at.desc(), looked_at.c.id.desc())
    row = connection.execute(last.offset(LOOKED_AT - 1).limit(1)).mappings().first()
    return None if row is None else cursor_to(row)


def examine(
    criteria: TransactionCriteria,
    before: Key | None,
    columns: Sequence[Any],
    most: int = LOOKED_AT,
) -> Select[Any]:
    """Return the newest lines that match one criterion with an index."""
    ordered = (col(T.occurred_at).desc(), col(T.id).desc())
    branches = [
        select(*columns)
        .where(*_span(criteria, before), *conditions)
        .order_by(*first, *ordered)
        .limit(most)
        .subquery()
        for conditions, first in _branches(criteria)
    ]
    lines = union_all(*(select(branch) for branch in branches)).subquery()
    return select(lines).order_by(lines.c.occurred_at.desc(), lines.c.id.desc()).limit(most)


Branch = tuple[list[ColumnElement[bool]], list[ColumnElement[Any]]]


def _branches(criteria: TransactionCriteria) -> list[Branch]:
    """Return conditions whose lines an index has by time, and by what it orders them before that.

    No line matches two of them.
    """
    title = criteria.ae_title
    if title:
        # With = the order would be that of time alone, in which who calls seldom is far down.
        calling, called = (
            [col(column) >= title, col(column) <= title] for column in (T.calling_ae, T.called_ae)
        )
        called.append(col(T.calling_ae).is_distinct_from(title))
        return [(calling, [col(T.calling_ae).desc()]), (called, [col(T.called_ae).desc()])]
    return [(conditions, []) for conditions in _conditions(criteria)]


def _conditions(criteria: TransactionCriteria) -> list[list[ColumnElement[bool]]]:
    outcomes = set(criteria.outcomes)
    if outcomes and TransactionOutcome.SUCCESS not in outcomes:
        # The index holds nothing else; its condition must be repeated literally.
        rare: ColumnElement[bool] = literal_column("outcome <> 'success'", Boolean)
        return [[col(T.outcome) == str(one), rare] for one in sorted(outcomes)]
    actors = {criteria.actor, *criteria.actors} - {""}
    if actors:
        return [[col(T.actor) == one] for one in sorted(actors)]
    actions = {criteria.action, *criteria.actions} - {""}
    if actions and (len(actions) <= MAX_BRANCHES or not criteria.kinds):
        return [[col(T.action) == one] for one in sorted(actions)]
    return [[col(T.kind) == str(one)] for one in sorted(set(criteria.kinds))] or [[]]


def _span(criteria: TransactionCriteria, before: Key | None) -> Iterator[ColumnElement[bool]]:
    if before is not None:
        yield tuple_(col(T.occurred_at), col(T.id)) < tuple_(*before)
    if criteria.since is not None:
        yield col(T.occurred_at) >= criteria.since
    if criteria.until is not None:
        yield col(T.occurred_at) < criteria.until


def _is_indexed(criteria: TransactionCriteria) -> bool:
    """Return whether an index finds all that match, so that a page examines no others."""
    told = asdict(criteria)
    named = {name for name, value in told.items() if value or value == 0} - {"since", "until"}
    return len(named) <= 1 and named <= {"kinds", "actor", "actors", "action", "actions"}


def _of_uids(criteria: TransactionCriteria) -> Iterator[ColumnElement[bool]]:
    uid = criteria.uid
    if uid:
        yield or_(
            col(T.sop_instance_uid) == uid,
            col(T.study_instance_uid) == uid,
            col(T.association_id) == uid,
        )
    if criteria.studies:
        yield col(T.study_instance_uid).in_(criteria.studies)


def matching(
    criteria: TransactionCriteria,
    columns: Any = T,  # noqa: ANN401 - a table or a subquery
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of a line, but not those of its time and of UIDs."""
    if criteria.ae_title:
        yield or_(columns.calling_ae == criteria.ae_title, columns.called_ae == criteria.ae_title)
    for column, values in (
        (columns.kind, [str(kind) for kind in criteria.kinds]),
        (columns.outcome, [str(outcome) for outcome in criteria.outcomes]),
        (columns.actor, criteria.actors),
        (columns.action, criteria.actions),
    ):
        if values:
            yield column.in_(values)
    for column, value in (
        (columns.peer_address, criteria.peer_address),
        (columns.actor, criteria.actor),
        (columns.action, criteria.action),
    ):
        if value:
            yield column == value
    if criteria.status is not None:
        yield columns.status == criteria.status


def cursor_to(row: RowMapping) -> str:
    """Return the cursor that continues after a line."""
    return encode_cursor(row["occurred_at"].isoformat(), row["id"])


def _line(row: RowMapping) -> Transaction:
    return Transaction.model_validate(row)


def key_of(cursor: str) -> Key:
    """Return the time and the identity of the line that a cursor names.

    Raises:
        Invalid: it belongs to another list.
    """
    moment, row_id = decode_cursor(cursor, (str, int))
    try:
        parsed = datetime.fromisoformat(str(moment))
    except ValueError:
        raise foreign_cursor() from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC), int(row_id)
