"""What became complete and what was decided then, and batches, in PostgreSQL."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from pydantic import ValidationError
from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.paging import Page, decode_cursor, encode_cursor, foreign_cursor, page_of
from draw_api.models.routing_trials import BatchOrder, RoutingBatch
from draw_api.ports.routing_trials import (
    AppliedCounts,
    Completion,
    CompletionHistory,
    RoutingBatchRepository,
)
from draw_shared.db.archived_series import last_series, next_series
from draw_shared.db.feed import SERIES_STABLE
from draw_shared.routing.batches import ArchiveStep, BatchCriteria
from draw_shared.wording import message

STEP_SERIES: Final = 100
NEWEST_OF_ALL: Final = 2**63 - 1
WHOLE_PERCENT: Final = 100

COMPLETIONS: Final = text(
    """
    SELECT c.sequence, c.series_instance_uid, c.study_instance_uid, c.occurred_at,
        coalesce(d.applied, '{}') AS applied, coalesce(d.destinations, '{}') AS destinations
    FROM (SELECT * FROM changes WHERE kind = :kind AND sequence < :sequence
        ORDER BY sequence DESC LIMIT :most) c
    LEFT JOIN routing_decisions d ON d.sequence = c.sequence
    WHERE c.occurred_at >= :since ORDER BY c.sequence DESC
    """
)
APPLIED: Final = text(
    """
    WITH newest AS MATERIALIZED (SELECT applied FROM routing_decisions WHERE decided_at >= :since
        ORDER BY decided_at DESC LIMIT :most)
    SELECT '' AS rule, count(*) AS decisions FROM newest
    UNION ALL
    SELECT rule, count(*) FROM newest, unnest(applied) AS rule GROUP BY rule
    """
)
ADD_BATCH: Final = text(
    """
    INSERT INTO routing_batches (id, routing_version, rules, criteria, state, until, created_by)
    VALUES (:id, :version, :rules, CAST(:criteria AS jsonb), 'running', :until, :by)
    """
)
ONE_BATCH: Final = text("SELECT * FROM routing_batches WHERE id = :id")
BATCHES: Final = text(
    """
    SELECT * FROM routing_batches
    WHERE (created_at, id) < (coalesce(CAST(:created_before AS timestamptz), 'infinity'),
        CAST(:id AS uuid))
    ORDER BY created_at DESC, id DESC LIMIT :limit
    """
)
CANCEL_BATCH: Final = text(
    """
    UPDATE routing_batches SET state = 'cancelled', finished_at = now()
    WHERE id = :id AND state = 'running' RETURNING id
    """
)
UNREADABLE: Final = message("this release cannot read the criteria of the batch")
LAST_ID: Final = UUID(int=2**128 - 1)


class PostgresCompletionHistory(CompletionHistory):
    """The change feed with the decisions about it."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def completions(self, before: int | None, since: datetime, most: int) -> list[Completion]:
        values = {
            "kind": SERIES_STABLE,
            "sequence": NEWEST_OF_ALL if before is None else before,
            "since": since,
            "most": most,
        }
        rows = self._connection.execute(COMPLETIONS, values).mappings()
        return [Completion(**row) for row in rows]

    @override
    def applied(self, since: datetime, most: int) -> AppliedCounts:
        rows = self._connection.execute(APPLIED, {"since": since, "most": most})
        counts: dict[str, int] = {row.rule: row.decisions for row in rows}
        return AppliedCounts(counts, whole=counts.pop("") < most)


class PostgresRoutingBatchRepository(RoutingBatchRepository):
    """The table `routing_batches`, and the index."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def last_series(self) -> int:
        return last_series(self._connection)

    @override
    def step(self, criteria: BatchCriteria, after: int, until: int) -> ArchiveStep:
        return next_series(self._connection, criteria, after=after, until=until, most=STEP_SERIES)

    @override
    def add(self, order: BatchOrder, routing_version: int, by: str) -> RoutingBatch:
        batch_id = uuid4()
        values = {
            "id": batch_id,
            "version": routing_version,
            "rules": list(order.rules),
            "criteria": json.dumps(order.criteria.stored()),
            "until": self.last_series(),
            "by": by,
        }
        self._connection.execute(ADD_BATCH, values)
        return _to_batch(self._connection.execute(ONE_BATCH, {"id": batch_id}).mappings().one())

    @override
    def one(self, batch_id: UUID) -> RoutingBatch | None:
        row = self._connection.execute(ONE_BATCH, {"id": batch_id}).mappings().first()
        return None if row is None else _to_batch(row)

    @override
    def page(self, cursor: str | None, limit: int) -> Page[RoutingBatch]:
        before, last = (None, LAST_ID) if cursor is None else _place(cursor)
        rows = self._connection.execute(
            BATCHES, {"created_before": before, "id": last, "limit": limit + 1}
        ).mappings()
        found = [_to_batch(row) for row in rows]
        return page_of(
            [(encode_cursor(one.created_at.isoformat(), str(one.id)), one) for one in found], limit
        )

    @override
    def cancel(self, batch_id: UUID) -> bool:
        return self._connection.execute(CANCEL_BATCH, {"id": batch_id}).first() is not None


def _place(cursor: str) -> tuple[datetime, UUID]:
    moment, batch_id = decode_cursor(cursor, (str, str))
    try:
        return datetime.fromisoformat(str(moment)), UUID(str(batch_id))
    except ValueError:
        raise foreign_cursor() from None


def _to_batch(row: Mapping[Any, Any]) -> RoutingBatch:
    whole = row["until"] == 0 or row["state"] == "complete"
    criteria, error = BatchCriteria(), row["error"]
    try:
        criteria = BatchCriteria.model_validate(row["criteria"])
    except ValidationError:
        error = error or UNREADABLE
    return RoutingBatch(
        id=row["id"],
        routing_version=row["routing_version"],
        rules=row["rules"],
        criteria=criteria,
        state=row["state"],
        progress_percent=(
            WHOLE_PERCENT if whole else row["position"] * WHOLE_PERCENT // row["until"]
        ),
        series=row["series_count"],
        deliveries=row["delivery_count"],
        error=error,
        created_at=row["created_at"],
        created_by=row["created_by"],
        finished_at=row["finished_at"],
    )
