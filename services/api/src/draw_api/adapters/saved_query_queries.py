"""Saved queries in PostgreSQL."""

from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.models.queries import NewQuery
from draw_api.models.saved_queries import NewSavedQuery, SavedQuery
from draw_api.ports.saved_queries import SavedQueryRepository

COLUMNS: Final = """
    SELECT s.id, s.name, s.shared, u.name AS owner, s.query->>'level' AS level,
        s.query->'keys' AS keys, s.query->'node_ids' AS node_ids,
        coalesce(CAST(s.query->>'limit' AS int), 0) AS limit,
        coalesce(s.query->>'study_dates', '') AS study_dates,
        coalesce(s.query->>'zone', '') AS zone, s.created_at
    FROM saved_queries s JOIN users u ON u.id = s.user_id
    WHERE (s.user_id = :user_id OR s.shared)
"""
SAVED: Final = text(
    f"""
    {COLUMNS} AND (CAST(:after AS text) IS NULL
        OR (s.name, s.id) > (CAST(:after AS text) COLLATE "C", CAST(:after_id AS bigint)))
    ORDER BY s.name, s.id LIMIT :limit
    """
)
ONE: Final = text(f"{COLUMNS} AND s.id = :id")
NAMED: Final = text(f"{COLUMNS} AND s.user_id = :user_id AND s.name = :name")
NUMBER: Final = text("SELECT count(*) FROM saved_queries WHERE user_id = :user_id")
SAVE: Final = text(
    """
    INSERT INTO saved_queries (user_id, name, shared, query)
    VALUES (:user_id, :name, :shared, CAST(:query AS jsonb))
    ON CONFLICT (user_id, name) DO UPDATE SET shared = excluded.shared, query = excluded.query,
        created_at = now()
    RETURNING id
    """
)
ASKED: Final = text("SELECT query FROM saved_queries WHERE id = :id")
REMOVE: Final = text("DELETE FROM saved_queries WHERE id = :id")


class PostgresSavedQueryRepository(SavedQueryRepository):
    """The table `saved_queries`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def number_of(self, user_id: int) -> int:
        number: int = self._connection.execute(NUMBER, {"user_id": user_id}).scalar_one()
        return number

    @override
    def save(self, user_id: int, saved: NewSavedQuery) -> int:
        values = {
            "user_id": user_id,
            "name": saved.name,
            "shared": saved.shared,
            "query": saved.query.model_dump_json(),
        }
        saved_id: int = self._connection.execute(SAVE, values).scalar_one()
        return saved_id

    @override
    def saved(self, user_id: int, cursor: str | None, limit: int) -> Page[SavedQuery]:
        after, after_id = decode_cursor(cursor, (str, int)) if cursor is not None else (None, None)
        values = {"user_id": user_id, "after": after, "after_id": after_id, "limit": limit + 1}
        rows = self._connection.execute(SAVED, values).mappings()
        return page_of(
            [
                (encode_cursor(row["name"], row["id"]), SavedQuery.model_validate(row))
                for row in rows
            ],
            limit,
        )

    @override
    def one(self, saved_id: int, user_id: int) -> SavedQuery | None:
        values = {"id": saved_id, "user_id": user_id}
        row = self._connection.execute(ONE, values).mappings().first()
        return None if row is None else SavedQuery.model_validate(row)

    @override
    def named(self, user_id: int, name: str) -> SavedQuery | None:
        values = {"user_id": user_id, "name": name}
        row = self._connection.execute(NAMED, values).mappings().first()
        return None if row is None else SavedQuery.model_validate(row)

    @override
    def asked(self, saved_id: int) -> NewQuery:
        kept = self._connection.execute(ASKED, {"id": saved_id}).scalar_one()
        return NewQuery.model_validate(kept)

    @override
    def remove(self, saved_id: int) -> None:
        self._connection.execute(REMOVE, {"id": saved_id})
