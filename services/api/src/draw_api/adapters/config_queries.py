"""Versions of the configuration document in PostgreSQL."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.config import StoredVersion
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.ports.config import ConfigRepository

COLUMNS: Final = "version, document, created_at, created_by, comment"
NEWEST: Final = text(f"SELECT {COLUMNS} FROM server_config ORDER BY version DESC LIMIT 1")  # noqa: S608 - names of columns
VERSION: Final = text(f"SELECT {COLUMNS} FROM server_config WHERE version = :version")  # noqa: S608 - names of columns
PAGE: Final = text(
    """
    SELECT c.version, c.document, c.created_at, c.created_by, c.comment,
        (SELECT b.document FROM server_config b WHERE b.version < c.version
         ORDER BY b.version DESC LIMIT 1) AS before
    FROM server_config c WHERE c.version < :before ORDER BY c.version DESC LIMIT :limit
    """
)
ADD: Final = text(
    "INSERT INTO server_config (version, document, created_by, comment)"
    " VALUES (:version, CAST(:document AS jsonb), :created_by, :comment)"
    " ON CONFLICT DO NOTHING RETURNING version"
)
LATEST_OF_ALL: Final = 2**31 - 1


class PostgresConfigRepository(ConfigRepository):
    """The table `server_config`, within one transaction."""

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
        return page_of(
            [
                (
                    encode_cursor(row["version"]),
                    (
                        StoredVersion(**{k: v for k, v in row.items() if k != "before"}),
                        row["before"],
                    ),
                )
                for row in rows
            ],
            limit,
        )

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
