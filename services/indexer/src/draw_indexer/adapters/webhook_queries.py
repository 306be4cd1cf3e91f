"""Webhooks and their deliveries in PostgreSQL."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text

from draw_indexer.models import WebhookAnswer, WebhookDelivery
from draw_shared.db.guard import require_current_schema
from draw_shared.db.session import Database

CONSUMER: Final = "webhooks"
CHANGES_AT_ONCE: Final = 2_000
OF_EACH: Final = 4
"""Deliveries of one webhook at a time: a slow one must not keep the others waiting."""
LEASE_SECONDS: Final = 60.0
LONGEST_ERROR: Final = 200
KEPT_DAYS: Final = 30

BEGIN: Final = text(
    "INSERT INTO feed_positions (consumer, sequence)"
    " SELECT :consumer, coalesce(max(sequence), 0) FROM changes ON CONFLICT DO NOTHING"
)
ANY_NEW: Final = text(
    "SELECT coalesce((SELECT max(sequence) FROM changes), 0)"
    " > (SELECT sequence FROM feed_positions WHERE consumer = :consumer)"
)
POSITION: Final = text(
    "SELECT sequence FROM feed_positions WHERE consumer = :consumer FOR UPDATE SKIP LOCKED"
)
# A webhook is told of what happens after it was made.
FAN_OUT: Final = text(
    """
    WITH read AS (SELECT * FROM changes WHERE sequence > :after ORDER BY sequence LIMIT :most),
    made AS (
        INSERT INTO webhook_deliveries (webhook_id, sequence, kind, body, state)
        SELECT w.id, c.sequence, c.kind, jsonb_build_object(
                'sequence', c.sequence, 'kind', c.kind,
                'occurred_at', to_char(c.occurred_at AT TIME ZONE 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'study_instance_uid', nullif(c.study_instance_uid, ''),
                'series_instance_uid', nullif(c.series_instance_uid, ''),
                'sop_instance_uid', nullif(c.sop_instance_uid, ''))::text, 'pending'
        FROM read c JOIN webhooks w ON w.active AND c.kind = ANY(w.kinds)
            AND w.created_at <= c.occurred_at
        ON CONFLICT DO NOTHING)
    SELECT count(*) AS number, max(sequence) AS last FROM read
    """
)
ADVANCE: Final = text(
    "UPDATE feed_positions SET sequence = :sequence, updated_at = now() WHERE consumer = :consumer"
)
CLAIM: Final = text(
    """
    WITH due AS (
        SELECT d.id FROM webhooks w CROSS JOIN LATERAL (
            SELECT id FROM webhook_deliveries
            WHERE webhook_id = w.id AND state = 'pending' AND next_attempt_at <= now()
            ORDER BY id LIMIT :each FOR UPDATE SKIP LOCKED) d
        WHERE w.active)
    UPDATE webhook_deliveries d SET attempts = attempts + 1,
        next_attempt_at = now() + make_interval(secs => :lease)
    FROM due, webhooks w WHERE d.id = due.id AND w.id = d.webhook_id
    RETURNING d.id, w.url, w.secret, d.kind, d.body, d.attempts
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
FORGET: Final = text(
    "DELETE FROM webhook_deliveries WHERE state = 'delivered'"
    " AND finished_at < now() - make_interval(days => :days)"
)


class PostgresDeliveries:
    """The table of deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fan_out(self) -> int:
        """Make deliveries of changes that are new, and return how many changes were read."""
        with self._database.session() as session:
            require_current_schema(session)
            connection = session.connection()
            consumer = {"consumer": CONSUMER}
            if connection.execute(ANY_NEW, consumer).scalar() is False:
                return 0
            connection.execute(BEGIN, consumer)
            after = connection.execute(POSITION, consumer).scalar()
            if after is None:
                return 0
            values = {"after": after, "most": CHANGES_AT_ONCE}
            read = connection.execute(FAN_OUT, values).one()
            if read.number:
                connection.execute(ADVANCE, consumer | {"sequence": read.last})
            session.commit()
        return int(read.number)

    def claim(self) -> Sequence[WebhookDelivery]:
        """Return deliveries that are due, a few of each webhook, and nobody else's for a while."""
        with self._database.session() as session:
            values = {"each": OF_EACH, "lease": LEASE_SECONDS}
            found = [WebhookDelivery(*row) for row in session.connection().execute(CLAIM, values)]
            session.commit()
        return sorted(found, key=lambda delivery: delivery.id)

    def delivered(self, delivery: WebhookDelivery, answer: WebhookAnswer) -> None:
        """Note that the receiver has it."""
        with self._database.session() as session:
            session.connection().execute(DELIVERED, {"id": delivery.id, "status": answer.status})
            session.commit()

    def failed(
        self, delivery: WebhookDelivery, answer: WebhookAnswer, again_in: float | None
    ) -> None:
        """Note that it was not taken; None: it is not tried again."""
        with self._database.session() as session:
            session.connection().execute(
                FAILED,
                {
                    "id": delivery.id,
                    "attempts": delivery.attempts,
                    "status": answer.status,
                    "error": answer.error[:LONGEST_ERROR],
                    "again_in": again_in,
                },
            )
            session.commit()

    def forget_old(self) -> None:
        """Forget what was delivered long ago; what is dead stays until somebody has looked."""
        with self._database.session() as session:
            require_current_schema(session)
            session.connection().execute(FORGET, {"days": KEPT_DAYS})
            session.commit()
