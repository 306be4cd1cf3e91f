"""Brings a database to this release's schema and gives it its first configuration."""

from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlmodel import Session

from draw_shared.contracts.server_config import ServerConfig
from draw_shared.db.session import sqlalchemy_url

SCRIPTS: Final = Path(__file__).parent / "migrations"
MIGRATION_LOCK: Final = 0x44524157
"""Key of the advisory lock that lets only one process migrate a database at a time."""


def _alembic(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    return config


@cache
def head_revision() -> str:
    """Return the newest revision this release knows."""
    head = ScriptDirectory.from_config(_alembic()).get_current_head()
    if head is None:
        raise RuntimeError("no migrations are packaged")
    return head


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate the database at `url`; concurrent callers wait for the first."""
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            command.upgrade(_alembic(connection), revision)
    finally:
        engine.dispose()


def seed_config(session: Session, config: ServerConfig) -> bool:
    """Write `config` as version 1 and return True, unless a configuration exists already."""
    written = session.connection().execute(
        text(
            "INSERT INTO server_config (version, document, created_by, comment)"
            " VALUES (1, CAST(:document AS jsonb), 'system', 'first configuration')"
            " ON CONFLICT DO NOTHING RETURNING version"
        ),
        {"document": config.model_dump_json()},
    )
    return written.first() is not None
