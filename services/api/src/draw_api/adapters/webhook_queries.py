"""The change feed, webhooks and their deliveries in PostgreSQL."""

from collections.abc import Sequence
from typing import Any, Final, get_args

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.models.webhooks import (
    MAX_COUNTED,
    Change,
    ChangeKind,
    Changes,
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookDelivery,
)
from draw_api.ports.webhooks import ChangeRepository, WebhookRepository

BOTH_SIGN_HOURS: Final = 24
"""How long a replaced secret signs beside the new one."""

CHANGES: Final = text(
    "SELECT * FROM changes WHERE sequence > :since AND sequence <= :last"
    " ORDER BY sequence LIMIT :limit"
)
# The next entries of each kind separately: only the index of kinds has this order, so that a rare
# kind is not searched for among all others.
CHANGES_OF_KINDS: Final = text(
    """
    SELECT c.* FROM unnest(CAST(:kinds AS text[])) AS wanted (kind) CROSS JOIN LATERAL (
        SELECT * FROM changes
        WHERE (kind, sequence) > (wanted.kind, :since)
            AND (kind, sequence) <= (wanted.kind, :last)
        ORDER BY kind, sequence LIMIT :limit) c
    ORDER BY sequence LIMIT :limit
    """
)
BOUNDS: Final = text("SELECT min(sequence) AS first, max(sequence) AS last FROM changes")
WEBHOOKS: Final = text(
    f"""
    SELECT w.*,
        (SELECT count(*) FROM (SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id
            AND d.state = 'pending' LIMIT {MAX_COUNTED + 1}) counted) AS pending,
        (SELECT count(*) FROM (SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id
            AND d.state = 'dead' LIMIT {MAX_COUNTED + 1}) counted) AS dead
    FROM webhooks w WHERE CAST(:id AS bigint) IS NULL OR w.id = :id ORDER BY w.id
    """  # noqa: S608 - our own number
)
DISABLED: Final = text("SELECT count(*) FROM webhooks WHERE disabled_at IS NOT NULL")
ADD: Final = text(
    """
    INSERT INTO webhooks (url, secret, kinds, description, active, created_by, since_sequence)
    SELECT :url, :secret, :kinds, :description, :active, :created_by, coalesce(max(sequence), 0)
    FROM changes RETURNING id
    """
)
CHANGE: Final = text(
    """
    UPDATE webhooks SET url = coalesce(:url, url), secret = coalesce(:secret, secret),
        previous_secret = CASE WHEN :secret <> secret THEN secret ELSE previous_secret END,
        previous_secret_until = CASE WHEN :secret <> secret
            THEN now() + make_interval(hours => :hours) ELSE previous_secret_until END,
        kinds = coalesce(CAST(:kinds AS text[]), kinds),
        description = coalesce(:description, description),
        active = coalesce(:active, active), updated_at = now(),
        failing_since = CASE WHEN CAST(:active AS boolean) OR CAST(:url AS text) <> url
            THEN NULL ELSE failing_since END,
        disabled_at = CASE WHEN CAST(:active AS boolean) IS NULL THEN disabled_at END,
        disabled_reason = CASE WHEN CAST(:active AS boolean) IS NULL
            THEN disabled_reason ELSE '' END
    WHERE id = :id
    """
)
HOLD: Final = text("SELECT id FROM webhooks WHERE id = :id FOR UPDATE")
REMOVE: Final = text("DELETE FROM webhooks WHERE id = :id")
DELIVERIES: Final = text(
    """
    SELECT * FROM webhook_deliveries WHERE webhook_id = :webhook_id AND sequence < :before
    ORDER BY sequence DESC LIMIT :limit
    """
)
# The state is a literal, so that the index of undelivered rows can be used.
DELIVERIES_OF_STATE: Final = {
    state: text(
        f"""
        SELECT * FROM webhook_deliveries
        WHERE webhook_id = :webhook_id AND state = '{state}' AND sequence < :before
        ORDER BY sequence DESC LIMIT :limit
        """  # noqa: S608 - our own words
    )
    for state in get_args(DeliveryState)
}
AGAIN: Final = (
    "UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_attempt_at = now(),"
    " finished_at = NULL WHERE webhook_id = :webhook_id"
)
REPLAY: Final = text(f"{AGAIN} AND id = :id")
REPLAY_DEAD: Final = text(f"{AGAIN} AND state = 'dead'")
MAX_BIGINT: Final = 2**63 - 1


class PostgresWebhookRepository(WebhookRepository, ChangeRepository):
    """Feed, webhooks and deliveries, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def after(self, since: int, kinds: Sequence[ChangeKind], limit: int) -> Changes:
        # Writers take turns: everything up to the last number is committed.
        bounds = self._connection.execute(BOUNDS).one()
        first, last = bounds.first or 0, bounds.last or 0
        values: dict[str, Any] = {"since": since, "last": last, "limit": limit + 1}
        if kinds:
            values["kinds"] = sorted(set(kinds))
        statement = CHANGES_OF_KINDS if kinds else CHANGES
        rows = self._connection.execute(statement, values).mappings().all()
        more = len(rows) > limit
        items = [Change.model_validate(dict(row)) for row in rows[:limit]]
        return Changes(
            items=items,
            next_since=items[-1].sequence if more else max(since, last),
            more=more,
            trimmed=first > since + 1,
        )

    @override
    def all(self) -> Sequence[Webhook]:
        return self._webhooks(None)

    @override
    def one(self, webhook_id: int) -> Webhook | None:
        found = self._webhooks(webhook_id)
        return found[0] if found else None

    @override
    def disabled(self) -> int:
        return int(self._connection.execute(DISABLED).scalar_one())

    @override
    def add(self, new: NewWebhook, secret: str, created_by: str) -> int:
        values = new.model_dump() | {"secret": secret, "created_by": created_by}
        return int(self._connection.execute(ADD, values).scalar_one())

    @override
    def change(self, webhook_id: int, values: dict[str, Any]) -> None:
        columns = ("url", "secret", "kinds", "description", "active")
        written = {name: values.get(name) for name in columns}
        values = written | {"id": webhook_id, "hours": BOTH_SIGN_HOURS}
        self._connection.execute(CHANGE, values)

    @override
    def hold(self, webhook_id: int) -> None:
        self._connection.execute(HOLD, {"id": webhook_id})

    @override
    def remove(self, webhook_id: int) -> None:
        self._connection.execute(REMOVE, {"id": webhook_id})

    @override
    def deliveries(
        self, webhook_id: int, state: DeliveryState | None, cursor: str | None, limit: int
    ) -> Page[WebhookDelivery]:
        (before,) = decode_cursor(cursor, (int,)) if cursor else (MAX_BIGINT,)
        values = {"webhook_id": webhook_id, "before": before, "limit": limit + 1}
        statement = DELIVERIES_OF_STATE[state] if state else DELIVERIES
        rows = self._connection.execute(statement, values).mappings()
        found = [
            (encode_cursor(r["sequence"]), WebhookDelivery.model_validate(dict(r))) for r in rows
        ]
        return page_of(found, limit)

    @override
    def replay(self, webhook_id: int, delivery_id: int | None) -> int:
        values = {"webhook_id": webhook_id}
        if delivery_id is None:
            return self._connection.execute(REPLAY_DEAD, values).rowcount
        return self._connection.execute(REPLAY, values | {"id": delivery_id}).rowcount

    def _webhooks(self, webhook_id: int | None) -> list[Webhook]:
        rows = self._connection.execute(WEBHOOKS, {"id": webhook_id}).mappings()
        return [Webhook.model_validate(dict(row)) for row in rows]
