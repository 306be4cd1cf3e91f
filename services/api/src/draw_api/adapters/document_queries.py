"""Versions of the documents in PostgreSQL: the configuration and the rules of routing."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import TextClause, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.config import StoredVersion
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.ports.documents import DocumentRepository

COLUMNS: Final = "version, document, created_at, created_by, comment"
LATEST_OF_ALL: Final = 2**31 - 1


class DocumentStatements(NamedTuple):
    """The statements of one table of versions."""

    newest: TextClause
    version: TextClause
    page: TextClause
    add: TextClause


def _of_table(table: str) -> DocumentStatements:
    return DocumentStatements(
        newest=text(f"SELECT {COLUMNS} FROM {table} ORDER BY version DESC LIMIT 1"),  # noqa: S608 - names of columns and tables
        version=text(f"SELECT {COLUMNS} FROM {table} WHERE version = :version"),  # noqa: S608
        page=text(
            f"SELECT {COLUMNS}, (SELECT b.document FROM {table} b WHERE b.version < c.version"  # noqa: S608
            " ORDER BY b.version DESC LIMIT 1) AS before"
            f" FROM {table} c WHERE version < :before ORDER BY version DESC LIMIT :limit"
        ),
        add=text(
            f"INSERT INTO {table} (version, document, created_by, comment)"  # noqa: S608
            " VALUES (:version, CAST(:document AS jsonb), :created_by, :comment)"
            " ON CONFLICT DO NOTHING RETURNING version"
        ),
    )


CONFIGURATION: Final = _of_table("server_config")
ROUTING: Final = _of_table("routing_documents")


class PostgresDocumentRepository(DocumentRepository):
    """One table of versions, within one transaction."""

    def __init__(self, session: Session, statements: DocumentStatements) -> None:
        self._connection = session.connection()
        self._statements = statements

    @override
    def newest(self) -> StoredVersion | None:
        row = self._connection.execute(self._statements.newest).mappings().first()
        return None if row is None else StoredVersion(**row)

    @override
    def version(self, number: int) -> StoredVersion | None:
        row = (
            self._connection.execute(self._statements.version, {"version": number})
            .mappings()
            .first()
        )
        return None if row is None else StoredVersion(**row)

    @override
    def page(
        self, cursor: str | None, limit: int
    ) -> Page[tuple[StoredVersion, dict[str, Any] | None]]:
        before = decode_cursor(cursor, (int,))[0] if cursor is not None else LATEST_OF_ALL
        rows = self._connection.execute(
            self._statements.page, {"before": min(int(before), LATEST_OF_ALL), "limit": limit + 1}
        ).mappings()
        found = []
        for row in rows:
            stored = StoredVersion(**{k: v for k, v in row.items() if k != "before"})
            found.append((encode_cursor(stored.version), (stored, row["before"])))
        return page_of(found, limit)

    @override
    def add(self, number: int, document: Mapping[str, Any], by: str, comment: str) -> bool:
        added = self._connection.execute(
            self._statements.add,
            {
                "version": number,
                "document": json.dumps(document),
                "created_by": by,
                "comment": comment,
            },
        )
        return added.first() is not None
