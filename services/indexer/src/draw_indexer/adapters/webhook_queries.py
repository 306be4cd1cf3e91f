"""Stores webhooks and their deliveries in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, text
from typing_extensions import override

from draw_indexer.adapters.feed_position import advance, take_position
from draw_indexer.models import ClaimedDelivery, DeliveryResult, DisabledWebhook
from draw_indexer.ports.webhooks import DeliveryRepository
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database

CONSUMER: Final = "webhooks"
CHANGES_AT_ONCE: Final = 2_000
LEASE_SECONDS: Final = 60.0
"""How long a claimed delivery belongs to its sender; longer than any exchange."""
MAX_ERROR_LENGTH: Final = 200
FORGOTTEN_AT_ONCE: Final = 10_000

# A webhook gets the changes that happen after its creation. One that is being removed stays until
# its deliveries are written.
FAN_OUT: Final = text(
    """
    WITH read AS (SELECT * FROM changes WHERE sequence > :after ORDER BY sequence LIMIT :most),
    listening AS (SELECT * FROM webhooks WHERE active FOR KEY SHARE),
    made AS (
        INSERT INTO webhook_deliveries (webhook_id, sequence, kind, body, state)
        SELECT w.id, c.sequence, c.kind, jsonb_build_object(
                'sequence', c.sequence, 'kind', c.kind,
                'occurred_at', to_char(c.occurred_at AT TIME ZONE 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'study_instance_uid', nullif(c.study_instance_uid, ''),
                'series_instance_uid', nullif(c.series_instance_uid, ''),
                'sop_instance_uid', nullif(c.sop_instance_uid, ''),
                'reason', nullif(c.reason, ''),
                'new_instance_count', c.new_instance_count)::text, 'pending'
        FROM read c JOIN listening w ON c.kind = ANY(w.kinds) AND w.since_sequence < c.sequence
        ORDER BY c.sequence, w.id
        ON CONFLICT DO NOTHING)
    SELECT count(*) AS number, max(sequence) AS last FROM read
    """
)
# One short index lookup of pending deliveries for each webhook, however many were delivered before.
# The array keeps the planner from joining with all deliveries.
CLAIM: Final = text(
    """
    WITH due AS MATERIALIZED (
        SELECT d.id FROM webhooks w
        LEFT JOIN unnest(CAST(:ids AS bigint[]), CAST(:room AS int[])) AS lane (id, room)
            ON lane.id = w.id
        CROSS JOIN LATERAL (
            SELECT id FROM webhook_deliveries
            WHERE webhook_id = w.id AND state = 'pending' AND next_attempt_at <= now()
            ORDER BY next_attempt_at, id LIMIT coalesce(lane.room, :usual)
            FOR UPDATE SKIP LOCKED) d
        WHERE w.active)
    UPDATE webhook_deliveries d SET attempts = attempts + 1,
        next_attempt_at = now() + make_interval(secs => :lease)
    FROM webhooks w WHERE d.id = ANY(ARRAY(SELECT id FROM due)) AND w.id = d.webhook_id
    RETURNING d.id, w.id AS webhook_id, w.url,
        CASE WHEN w.previous_secret_until > now() THEN ARRAY[w.secret, w.previous_secret]
            ELSE ARRAY[w.secret] END AS secrets, d.body, d.attempts, d.sequence < 0 AS routed
    """
)
DELIVERED: Final = text(
    "UPDATE webhook_deliveries SET state = 'delivered', last_status = :status, last_error = '',"
    " finished_at = now() WHERE id = :id"
)
FAILED: Final = text(
    """
    UPDATE webhook_deliveries SET last_status = :status, last_error = :error,
        state = CASE WHEN CAST(:again_in AS float) IS NULL THEN 'dead' ELSE 'pending' END,
        finished_at = CASE WHEN CAST(:again_in AS float) IS NULL THEN now() END,
        next_attempt_at = now() + make_interval(secs => coalesce(CAST(:again_in AS float), 0))
    WHERE id = :id AND attempts = :attempts AND state = 'pending'
    """
)
SUCCEEDS: Final = text(
    "UPDATE webhooks SET failing_since = NULL WHERE id = ANY(:ids) AND failing_since IS NOT NULL"
)
FAILS: Final = text(
    "UPDATE webhooks SET failing_since = now() WHERE id = ANY(:ids) AND failing_since IS NULL"
)
DISABLE_FAILING: Final = text(
    """
    UPDATE webhooks SET active = false, disabled_at = now(), disabled_reason = 'failing'
    WHERE id = ANY(:ids) AND active AND failing_since < now() - make_interval(secs => :seconds)
    RETURNING id, disabled_reason
    """
)
# The URL may have been changed while the request to the old one was under way.
DISABLE_GONE: Final = text(
    """
    UPDATE webhooks SET active = false, disabled_at = now(), disabled_reason = 'gone'
    WHERE id = :id AND active AND url = :url RETURNING id, disabled_reason
    """
)
FORGET: Final = text(
    """
    DELETE FROM webhook_deliveries WHERE id = ANY(ARRAY(
        SELECT id FROM webhook_deliveries
        WHERE state = :state AND finished_at < now() - make_interval(days => :days)
        ORDER BY finished_at LIMIT :most))
    """
)


class PostgresDeliveryRepository(DeliveryRepository):
    """The table of deliveries."""

    def __init__(self, database: Database, *, max_failing_seconds: float) -> None:
        self._database = database
        self._max_failing_seconds = max_failing_seconds

    @override
    def fan_out(self) -> int:
        with self._database.session() as session:
            require_served_schema(session)
            after = take_position(session, CONSUMER)
            if after is None:
                return 0
            connection = session.connection()
            values = {"after": after, "most": CHANGES_AT_ONCE}
            read = connection.execute(FAN_OUT, values).one()
            if read.number:
                advance(connection, CONSUMER, read.last)
            session.commit()
        return int(read.number)

    @override
    def claim(self, room: Mapping[int, int], usual_room: int) -> Sequence[ClaimedDelivery]:
        values = {
            "ids": list(room),
            "room": list(room.values()),
            "usual": usual_room,
            "lease": LEASE_SECONDS,
        }
        with self._database.session() as session:
            found = [ClaimedDelivery(*row) for row in session.connection().execute(CLAIM, values)]
            session.commit()
        return sorted(found, key=lambda delivery: delivery.id)

    @override
    def note(self, results: Sequence[DeliveryResult]) -> Sequence[DisabledWebhook]:
        ordered = sorted(results, key=lambda result: result.delivery.id)
        taken = [_delivered(result) for result in ordered if result.answer.taken]
        failed = [_failed(result) for result in ordered if not result.answer.taken]
        with self._database.session() as session:
            connection = session.connection()
            if taken:
                connection.execute(DELIVERED, taken)
            if failed:
                connection.execute(FAILED, failed)
            disabled = self._judge(connection, ordered)
            session.commit()
        return disabled

    def forget_old(self, *, delivered_days: int, dead_days: int) -> None:
        """Delete deliveries that were made or given up long ago."""
        for state, days in (("delivered", delivered_days), ("dead", dead_days)):
            values = {"state": state, "days": days, "most": FORGOTTEN_AT_ONCE}
            while self._forget(values) == FORGOTTEN_AT_ONCE:
                pass

    def _forget(self, values: Mapping[str, Any]) -> int:
        with self._database.session() as session:
            require_served_schema(session)
            forgotten = session.connection().execute(FORGET, values).rowcount
            session.commit()
        return forgotten

    def _judge(
        self, connection: Connection, results: Sequence[DeliveryResult]
    ) -> list[DisabledWebhook]:
        """Record which webhooks fail; disable those that have failed for long or are gone."""
        succeeding = {r.delivery.webhook_id for r in results if r.answer.taken}
        failing = {r.delivery.webhook_id for r in results} - succeeding
        found = []
        if succeeding:
            connection.execute(SUCCEEDS, {"ids": sorted(succeeding)})
        if failing:
            ids = {"ids": sorted(failing)}
            connection.execute(FAILS, ids)
            values = ids | {"seconds": self._max_failing_seconds}
            found = list(connection.execute(DISABLE_FAILING, values))
        for webhook_id, url in sorted(_gone(results)):
            found.extend(connection.execute(DISABLE_GONE, {"id": webhook_id, "url": url}))
        return [DisabledWebhook(*row) for row in found]


def _gone(results: Sequence[DeliveryResult]) -> set[tuple[int, str]]:
    return {(r.delivery.webhook_id, r.delivery.url) for r in results if r.answer.gone}


def _delivered(result: DeliveryResult) -> dict[str, Any]:
    return {"id": result.delivery.id, "status": result.answer.status}


def _failed(result: DeliveryResult) -> dict[str, Any]:
    return {
        "id": result.delivery.id,
        "attempts": result.delivery.attempts,
        "status": result.answer.status,
        "error": result.answer.error[:MAX_ERROR_LENGTH],
        "again_in": result.again_in,
    }
