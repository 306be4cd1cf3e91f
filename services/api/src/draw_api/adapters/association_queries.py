"""Associations in PostgreSQL, put together from their lines in the transaction log.

The line of its end says how an association ended and what was stored in it; its operations say what
else was done. An association is where its newest line that matches is, so a page finds it by the
indexes that the log has. Of each association a bounded number of operations is looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import RowMapping, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import Session, col
from typing_extensions import override

from draw_api.adapters.transaction_queries import (
    COLUMNS,
    LOOKED_AT,
    LOOKED_AT_FIRST,
    Key,
    cursor_to,
    examine,
    further_cursor,
    key_of,
    matching,
)
from draw_api.models.paging import Page
from draw_api.models.transactions import (
    AssociationActivity,
    AssociationCriteria,
    AssociationSummary,
    AssociationTrouble,
    OperationCount,
    TransactionCriteria,
)
from draw_api.ports.transactions import AssociationRepository
from draw_shared.addresses import address_of
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.db import tables

T: Final = tables.TransactionRow

MAX_OPERATIONS: Final = 400
"""Operations of one association that are looked at."""
MAX_OPEN: Final = 20
OPEN: Final = timedelta(minutes=10)
"""An association without an end is open as long after its last operation."""
DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)

KINDS: Final[Mapping[AssociationActivity | None, tuple[TransactionKind, ...]]] = {
    AssociationActivity.STORED: (TransactionKind.C_STORE,),
    AssociationActivity.QUERIED: (TransactionKind.C_FIND,),
    AssociationActivity.RETRIEVED: (TransactionKind.C_GET, TransactionKind.C_MOVE),
    AssociationActivity.VERIFIED: (TransactionKind.C_ECHO,),
}
OF_ASSOCIATIONS: Final = tuple(
    kind
    for kind in TransactionKind
    if kind not in {TransactionKind.MANAGEMENT, TransactionKind.REJECTION}
)
TROUBLE: Final = (TransactionOutcome.WARNING, TransactionOutcome.FAILURE)
PEER: Final = ("calling_ae", "called_ae", "peer_address")
LOOKED_FOR: Final = (
    T.id, T.occurred_at, T.association_id, T.kind, T.outcome, T.calling_ae, T.called_ae,
    T.peer_address, T.status, T.actor, T.action,
)  # fmt: skip

UNFINISHED: Final = text(
    """
    SELECT association_id, max(occurred_at) AS occurred_at, max(id) AS id
    FROM (SELECT association_id, occurred_at, id, kind FROM transactions
        WHERE occurred_at > :since AND association_id IS NOT NULL
            AND kind NOT IN ('rejection', 'management')
            AND (:peer = '' OR calling_ae = :peer OR peer_address = :peer)
        ORDER BY occurred_at DESC LIMIT 2000) newest
    GROUP BY 1 HAVING NOT bool_or(kind = 'association') ORDER BY 2 DESC LIMIT :most
    """
)
OPERATIONS: Final = text(
    """
    SELECT k.association_id, l.kind, count(*) AS lines,
        count(*) FILTER (WHERE l.action IS NULL) AS number,
        count(*) FILTER (WHERE l.outcome <> 'success') AS unsuccessful,
        (array_agg(l.status) FILTER (WHERE l.outcome <> 'success'))[1] AS status,
        coalesce(sum(l.objects) FILTER (WHERE l.action IS NULL), 0) AS objects,
        count(*) FILTER (WHERE l.kind = 'c-store' AND l.outcome = 'success') AS stored,
        coalesce(sum(l.size_bytes) FILTER (WHERE l.kind = 'c-store' AND l.outcome = 'success'), 0)
            AS size_bytes,
        array_agg(DISTINCT l.study_instance_uid)
            FILTER (WHERE l.study_instance_uid IS NOT NULL) AS studies,
        max(l.calling_ae) AS calling_ae, max(l.called_ae) AS called_ae,
        max(l.peer_address) AS peer_address
    FROM unnest(CAST(:association_ids AS text[]), CAST(:firsts AS timestamptz[]),
        CAST(:lasts AS timestamptz[])) AS k (association_id, first, last)
    CROSS JOIN LATERAL (SELECT * FROM transactions t
        WHERE t.association_id = k.association_id AND t.kind <> 'association'
            AND t.occurred_at >= k.first AND t.occurred_at <= k.last LIMIT :each) l
    GROUP BY 1, 2 ORDER BY 1, 2
    """
)
DESCRIPTIONS: Final = text(
    "SELECT ae_title, description FROM allowed_ae_titles WHERE ae_title = ANY(:ae_titles)"
)


@dataclass(slots=True)
class _Operations:
    """What was done in one association."""

    lines: int = 0
    """How many lines were looked at."""
    counts: list[OperationCount] = field(default_factory=list)
    stored: int = 0
    size_bytes: int = 0
    studies: set[str] = field(default_factory=set)
    peer: dict[str, str | None] = field(default_factory=dict)


class PostgresAssociationRepository(AssociationRepository):
    """The associations of the table `transactions`, within one database transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def page(
        self, criteria: AssociationCriteria, cursor: str | None, limit: int
    ) -> tuple[Page[AssociationSummary], Mapping[str, Sequence[str]]]:
        lines = _lines_of(criteria)
        before = key_of(cursor) if cursor is not None else None
        found, next_cursor = self._associations(lines, before, limit)
        if before is None and _may_be_open(criteria):
            found = [*self._unfinished(criteria), *found]
        ends = self._ends(found, only_ends=lines.kinds == (TransactionKind.ASSOCIATION,))
        done = self._operations(found, ends)
        titles = {one.peer.get("calling_ae") for one in done.values()}
        titles |= {end["calling_ae"] for end in ends.values()}
        described = self._descriptions(title for title in titles if title)
        items = [_summary(row, ends.get(row["association_id"]), done, described) for row in found]
        studies = {
            row["association_id"]: sorted(done[row["association_id"]].studies)
            for row in found
            if row["association_id"] in done
        }
        return Page(items=items, next_cursor=next_cursor), studies

    def _associations(
        self, lines: TransactionCriteria, before: Key | None, limit: int
    ) -> tuple[list[RowMapping], str | None]:
        """Return associations by their newest line that matches, and where others follow."""
        every = lines == TransactionCriteria(
            kinds=(TransactionKind.ASSOCIATION,), since=lines.since, until=lines.until
        )
        rows: list[RowMapping] = []
        for most in (limit + 1,) if every else (LOOKED_AT_FIRST, LOOKED_AT):
            rows = self._newest(lines, before, most, limit)
            if len(rows) > limit:
                break
        found, next_cursor = rows[:limit], None
        if len(rows) > limit:
            next_cursor = cursor_to(found[-1])
        elif not every:
            next_cursor = further_cursor(self._connection, lines, before)
        if before is not None and not every:
            earlier = self._shown_earlier(lines, before, found)
            found = [row for row in found if row["association_id"] not in earlier]
        return found, next_cursor

    def _newest(
        self, lines: TransactionCriteria, before: Key | None, most: int, limit: int
    ) -> list[RowMapping]:
        looked_at = examine(lines, before, LOOKED_FOR, most).subquery()
        at, key = looked_at.c.occurred_at, looked_at.c.id
        newest = func.array_agg(aggregate_order_by(key, at.desc(), key.desc()))
        grouped = (
            select(
                looked_at.c.association_id,
                func.max(at).label("occurred_at"),
                newest[1].label("id"),
            )
            .where(*matching(lines, looked_at.c), looked_at.c.association_id.is_not(None))
            .group_by(looked_at.c.association_id)
            .order_by(func.max(at).desc(), newest[1].desc())
            .limit(limit + 1)
        )
        return list(self._connection.execute(grouped).mappings())

    def _shown_earlier(
        self, lines: TransactionCriteria, before: Key, found: Sequence[RowMapping]
    ) -> set[str]:
        """Return those that are on an earlier page already, with a newer line that matches."""
        query = (
            select(col(T.association_id))
            .where(
                col(T.association_id).in_([row["association_id"] for row in found]),
                tuple_(col(T.occurred_at), col(T.id)) >= tuple_(*before),
                *matching(lines),
            )
            .distinct()
        )
        if not found:
            return set()
        return {str(one) for one in self._connection.execute(query).scalars()}

    def _unfinished(self, criteria: AssociationCriteria) -> Sequence[RowMapping]:
        since = max(datetime.now(UTC) - OPEN, criteria.since or datetime.min.replace(tzinfo=UTC))
        values = {"since": since, "peer": criteria.peer, "most": MAX_OPEN}
        return self._connection.execute(UNFINISHED, values).mappings().all()

    def _ends(self, found: Sequence[RowMapping], *, only_ends: bool) -> dict[str, RowMapping]:
        """Return the lines in which these associations ended."""
        if not found:
            return {}
        at, first = col(T.occurred_at), min(row["occurred_at"] for row in found)
        query = select(*COLUMNS).where(at >= first, col(T.kind) == str(TransactionKind.ASSOCIATION))
        if only_ends:
            last = max(row["occurred_at"] for row in found)
            query = query.where(col(T.id).in_([row["id"] for row in found]), at <= last)
        else:
            ids = [row["association_id"] for row in found]
            query = query.where(col(T.association_id).in_(ids))
        return {row["association_id"]: row for row in self._connection.execute(query).mappings()}

    def _operations(
        self, found: Sequence[RowMapping], ends: Mapping[str, RowMapping]
    ) -> dict[str, _Operations]:
        spans = [(row["association_id"], *_span(row, ends)) for row in found]
        if not spans:
            return {}
        ids, firsts, lasts = map(list, zip(*spans, strict=True))
        values = {"association_ids": ids, "firsts": firsts, "lasts": lasts, "each": MAX_OPERATIONS}
        done: dict[str, _Operations] = {}
        for row in self._connection.execute(OPERATIONS, values).mappings():
            one = done.setdefault(row["association_id"], _Operations())
            one.counts.append(OperationCount.model_validate({**row}))
            one.lines += row["lines"]
            one.stored += row["stored"]
            one.size_bytes += int(row["size_bytes"])
            one.studies |= set(row["studies"] or ())
            one.peer = {name: row[name] for name in PEER}
        return done

    def _descriptions(self, titles: Iterable[str]) -> dict[str, str]:
        rows = self._connection.execute(DESCRIPTIONS, {"ae_titles": sorted(titles)})
        return {row.ae_title: row.description for row in rows}


def _lines_of(criteria: AssociationCriteria) -> TransactionCriteria:
    """Return the criteria of the lines that show such an association."""
    is_address = _is_address(criteria.peer)
    kinds = KINDS.get(criteria.activity, (TransactionKind.ASSOCIATION,))
    outcomes: tuple[TransactionOutcome, ...] = ()
    if criteria.trouble is AssociationTrouble.ANY:
        kinds = KINDS.get(criteria.activity, OF_ASSOCIATIONS)
        outcomes = TROUBLE
    elif criteria.trouble is AssociationTrouble.REFUSED:
        kinds, outcomes = (TransactionKind.C_STORE,), (TransactionOutcome.FAILURE,)
    return TransactionCriteria(
        kinds=kinds,
        outcomes=outcomes,
        ae_title="" if is_address else criteria.peer,
        peer_address=criteria.peer if is_address else "",
        since=criteria.since,
        until=criteria.until,
    )


def _is_address(text: str) -> bool:
    try:
        address_of(text)
    except ValueError:
        return False
    return True


def _may_be_open(criteria: AssociationCriteria) -> bool:
    return criteria.trouble is None and criteria.activity is None and criteria.until is None


def _span(row: RowMapping, ends: Mapping[str, RowMapping]) -> tuple[datetime, datetime]:
    """Return when the operations of an association were, so that few months are looked at."""
    end = ends.get(row["association_id"])
    if end is None:
        return row["occurred_at"] - DAY, row["occurred_at"] + DAY
    lasted = timedelta(seconds=end["duration_seconds"] or 0)
    return end["occurred_at"] - lasted - MINUTE, end["occurred_at"] + MINUTE


def _summary(
    row: RowMapping,
    end: RowMapping | None,
    done: Mapping[str, _Operations],
    described: Mapping[str, str],
) -> AssociationSummary:
    one = done.get(row["association_id"], _Operations())
    last_at = end["occurred_at"] if end else row["occurred_at"]
    peer = {name: end[name] for name in PEER} if end else one.peer
    return AssociationSummary(
        association_id=row["association_id"],
        line_id=end["id"] if end else None,
        last_at=last_at,
        open=end is None and last_at > datetime.now(UTC) - OPEN,
        calling_ae=peer.get("calling_ae"),
        called_ae=peer.get("called_ae"),
        peer_address=peer.get("peer_address"),
        description=described.get(peer.get("calling_ae") or "", ""),
        outcome=end["outcome"] if end else None,
        detail=end["detail"] if end else None,
        duration_seconds=end["duration_seconds"] if end else None,
        size_bytes=(end["size_bytes"] or 0) if end else one.size_bytes,
        objects=(end["objects"] or 0) if end else one.stored,
        operations=one.counts,
        more_operations=one.lines >= MAX_OPERATIONS,
        number_of_studies=len(one.studies),
        study=None,
    )
