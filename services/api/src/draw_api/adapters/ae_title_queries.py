"""Allowed AE titles in PostgreSQL."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.models.peers import AllowedAeTitle, AllowedAeTitleSettings
from draw_api.ports.peers import AeTitleRepository
from draw_shared.contracts.config_snapshot import AllowedPeer, allowed_peer

PAGE: Final = text("SELECT * FROM allowed_ae_titles WHERE id > :after ORDER BY id LIMIT :limit")
ONE: Final = text("SELECT * FROM allowed_ae_titles WHERE id = :id")
BY_TITLE: Final = text("SELECT * FROM allowed_ae_titles WHERE ae_title = :ae_title")
ACTIVE: Final = text("SELECT * FROM allowed_ae_titles WHERE active")
LOOPBACK_READS: Final = text(
    "SELECT coalesce(bool_or((details->>'loopback_reads')::boolean), false) FROM service_replicas"
    " WHERE service = 'scp' AND heartbeat_at > now() - interval '1 minute'"
)
ADD: Final = text(
    "INSERT INTO allowed_ae_titles (ae_title, description, expected_ip, rights,"
    " move_destinations, certificates, settle_time_seconds, active)"
    " VALUES (:ae_title, :description, :expected_ip, :rights, :move_destinations,"
    " :certificates, :settle_time_seconds, :active)"
    " ON CONFLICT (ae_title) DO NOTHING RETURNING id"
)
REPLACE: Final = text(
    "UPDATE allowed_ae_titles SET ae_title = :ae_title, description = :description,"
    " expected_ip = :expected_ip, rights = :rights, move_destinations = :move_destinations,"
    " certificates = :certificates, settle_time_seconds = :settle_time_seconds,"
    " active = :active, updated_at = now() WHERE id = :id"
)
HOLD: Final = text("SELECT id FROM allowed_ae_titles WHERE id = :id FOR UPDATE")
TAKEN: Final = text(
    "SELECT EXISTS (SELECT FROM allowed_ae_titles WHERE ae_title = :ae_title AND id <> :id)"
)
REMOVE: Final = text("DELETE FROM allowed_ae_titles WHERE id = :id RETURNING ae_title")
ARRAYS: Final = ("rights", "move_destinations", "certificates")
TITLES_LOCK: Final = 0x44524145
"""Key of the advisory lock that serializes adding and renaming AE titles, so no clash is missed."""


class PostgresAeTitleRepository(AeTitleRepository):
    """The table `allowed_ae_titles`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def page(self, cursor: str | None, limit: int) -> Page[AllowedAeTitle]:
        after = decode_cursor(cursor, (int,))[0] if cursor is not None else 0
        rows = self._connection.execute(PAGE, {"after": after, "limit": limit + 1}).mappings()
        return page_of(
            [(encode_cursor(row["id"]), AllowedAeTitle.model_validate(row)) for row in rows], limit
        )

    @override
    def one(self, row_id: int) -> AllowedAeTitle | None:
        row = self._connection.execute(ONE, {"id": row_id}).mappings().first()
        return None if row is None else AllowedAeTitle.model_validate(row)

    @override
    def by_title(self, ae_title: str) -> AllowedAeTitle | None:
        self._lock()
        row = self._connection.execute(BY_TITLE, {"ae_title": ae_title}).mappings().first()
        return None if row is None else AllowedAeTitle.model_validate(row)

    @override
    def add(self, settings: AllowedAeTitleSettings) -> int | None:
        self._lock()
        added: int | None = self._connection.execute(ADD, _values(settings)).scalar()
        return added

    @override
    def replace(self, row_id: int, settings: AllowedAeTitleSettings) -> bool | None:
        self._lock()
        if self._connection.execute(HOLD, {"id": row_id}).first() is None:
            return None
        values = _values(settings) | {"id": row_id}
        if self._connection.execute(TAKEN, {"ae_title": settings.ae_title, "id": row_id}).scalar():
            return False
        self._connection.execute(REPLACE, values)
        return True

    @override
    def remove(self, row_id: int) -> str | None:
        title: str | None = self._connection.execute(REMOVE, {"id": row_id}).scalar()
        return title

    @override
    def active(self) -> Sequence[AllowedPeer]:
        return [allowed_peer({**row}) for row in self._connection.execute(ACTIVE).mappings()]

    @override
    def loopback_reads(self) -> bool:
        return bool(self._connection.execute(LOOPBACK_READS).scalar())

    def _lock(self) -> None:
        self._connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": TITLES_LOCK})


def _values(settings: AllowedAeTitleSettings) -> dict[str, Any]:
    """Return the columns; lists become arrays."""
    given = settings.model_dump(mode="json")
    return given | {name: list(given[name]) for name in ARRAYS}
