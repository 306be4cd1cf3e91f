"""Versions of the rules of routing in PostgreSQL."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.config import StoredVersion
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.ports.routing import RoutingFactsSource, RoutingRepository
from draw_shared.db.routing_facts import Reader, series_facts
from draw_shared.routing.facts import RoutingFacts
from draw_shared.routing.subjects import ConditionSubject

NEWEST: Final = text(
    "SELECT version, document, created_at, created_by, comment FROM routing_documents"
    " ORDER BY version DESC LIMIT 1"
)
VERSION: Final = text(
    "SELECT version, document, created_at, created_by, comment FROM routing_documents"
    " WHERE version = :version"
)
PAGE: Final = text(
    """
    SELECT c.version, c.document, c.created_at, c.created_by, c.comment,
        (SELECT b.document FROM routing_documents b WHERE b.version < c.version
         ORDER BY b.version DESC LIMIT 1) AS before
    FROM routing_documents c WHERE c.version < :before ORDER BY c.version DESC LIMIT :limit
    """
)
ADD: Final = text(
    "INSERT INTO routing_documents (version, document, created_by, comment)"
    " VALUES (:version, CAST(:document AS jsonb), :created_by, :comment)"
    " ON CONFLICT DO NOTHING RETURNING version"
)
LATEST_OF_ALL: Final = 2**31 - 1


class PostgresRoutingRepository(RoutingRepository):
    """The table `routing_documents`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def newest(self) -> StoredVersion | None:
        row = self._connection.execute(NEWEST).mappings().first()
        return None if row is None else StoredVersion(**row)

    @override
    def version(self, number: int) -> StoredVersion | None:
        row = self._connection.execute(VERSION, {"version": number}).mappings().first()
        return None if row is None else StoredVersion(**row)

    @override
    def page(
        self, cursor: str | None, limit: int
    ) -> Page[tuple[StoredVersion, dict[str, Any] | None]]:
        before = decode_cursor(cursor, (int,))[0] if cursor is not None else LATEST_OF_ALL
        rows = self._connection.execute(
            PAGE, {"before": min(int(before), LATEST_OF_ALL), "limit": limit + 1}
        ).mappings()
        found = []
        for row in rows:
            stored = StoredVersion(**{k: v for k, v in row.items() if k != "before"})
            found.append((encode_cursor(stored.version), (stored, row["before"])))
        return page_of(found, limit)

    @override
    def add(self, number: int, document: Mapping[str, Any], by: str, comment: str) -> bool:
        added = self._connection.execute(
            ADD,
            {
                "version": number,
                "document": json.dumps(document),
                "created_by": by,
                "comment": comment,
            },
        )
        return added.first() is not None


class PostgresRoutingFactsSource(RoutingFactsSource):
    """The index, and the files of objects where it does not suffice."""

    def __init__(self, session: Session, read: Reader) -> None:
        self._connection = session.connection()
        self._read = read

    @override
    def series(
        self, series_instance_uid: str, wanted: Iterable[ConditionSubject]
    ) -> tuple[str, RoutingFacts] | None:
        return series_facts(self._connection, series_instance_uid, wanted, self._read)
