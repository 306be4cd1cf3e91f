"""Refuses to run against a schema that this release cannot serve."""

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError
from sqlmodel import Session

from draw_shared.db.revisions import is_later, why_not_served
from draw_shared.errors import Transient

UNDEFINED_TABLE: Final = "42P01"
UNDEFINED: Final = frozenset({UNDEFINED_TABLE, "42703", "42883"})
"""SQLSTATEs of a missing table, column or function."""
FOUND: Final = text("SELECT version_num FROM alembic_version")
COMPATIBLE: Final = text("SELECT compatible_from FROM schema_revisions WHERE revision = :revision")


class SchemaMismatch(Transient):
    """The database has a schema that this release cannot serve; a migration may change that."""

    def __init__(self, reason: str, found: str | None) -> None:
        super().__init__(reason)
        self.found = found


def require_served_schema(session: Session) -> str:
    """Return the schema's revision if this release serves it.

    Raises:
        SchemaMismatch: the schema is too old, absent or too new for this release.
    """
    connection = session.connection()
    found = revision_of(connection)
    later = is_later(found)
    compatible_from = (
        connection.execute(COMPATIBLE, {"revision": found}).scalar() if later else None
    )
    reason = why_not_served(found, compatible_from)
    if reason or found is None:
        raise SchemaMismatch(reason, found)
    return found


def revision_of(connection: Connection) -> str | None:
    """Return the schema's revision; without one, return None and end the transaction."""
    try:
        return connection.execute(FOUND).scalar()
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != UNDEFINED_TABLE:
            raise
        return None
