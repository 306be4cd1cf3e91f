"""Refuses to run against a schema of another version."""

from sqlalchemy import text
from sqlmodel import Session

from draw_shared.db.migrate import head_revision
from draw_shared.errors import Transient


class SchemaMismatch(Transient):
    """The database is not (yet) migrated to the version this process was built for."""


def require_current_schema(session: Session) -> None:
    """Return when the schema is the one this code was written for.

    Raises:
        SchemaMismatch: it is older, newer or absent; a migration may be under way.
    """
    known = session.connection().execute(text("SELECT to_regclass('alembic_version')")).scalar()
    found = (
        session.connection().execute(text("SELECT version_num FROM alembic_version")).scalar()
        if known
        else None
    )
    if found != head_revision():
        raise SchemaMismatch(f"schema is {found or 'absent'}, this release needs {head_revision()}")
