"""Migrates a database to this release's schema and writes its first configuration.

The suite keeps running meanwhile. Each migration is a transaction of its own. A migration that
does not get a table lock within `LOCK_TIMEOUT_SECONDS` gives way to the transactions that queue
behind it and is tried again after a delay.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from draw_shared.contracts.server_config import ServerConfig
from draw_shared.db import roles
from draw_shared.db.guard import require_served_schema, revision_of
from draw_shared.db.revisions import REVISION, is_later
from draw_shared.db.session import sqlalchemy_url
from draw_shared.errors import Permanent, Transient

log = structlog.get_logger()

SCRIPTS: Final = Path(__file__).parent / "migrations"
MIGRATION_LOCK: Final = 0x44524157
"""Key of the advisory lock that lets only one process migrate a database at a time."""
LOCK_TIMEOUT_SECONDS: Final = 2
"""Longer than `deadlock_timeout`, after which autovacuum yields a table to a waiting migration."""
RETRY_TIMEOUT_SECONDS: Final = 600.0
MIN_RETRY_DELAY_SECONDS: Final = 0.5
MAX_RETRY_DELAY_SECONDS: Final = 15.0
IN_USE: Final = frozenset({"55P03", "40P01"})
"""lock_not_available and deadlock_detected."""
REFUSED: Final = "P0001"
"""raise_exception: a migration says why it does not go on."""

# A blocking wait would hold a snapshot, and CREATE INDEX CONCURRENTLY waits for all snapshots.
TAKE_TURN: Final = text("SELECT pg_try_advisory_lock(:key)")
BOUND_WAITING: Final = text(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")


class MigrationBlocked(Transient):
    """The tables were in use all the time; the migrations done so far are complete."""


class MigrationRefused(Permanent):
    """A migration needs something to be changed first, as the text says."""


def bring_up_to_date(
    owner_url: str, *, admin_url: str = "", service_urls: Mapping[str, str] | None = None
) -> str:
    """Migrate a database, grant each service's role its rights, and return the revision.

    The schema and the grants of a later release stay unchanged.

    Args:
        owner_url: URL of the role that owns the tables.
        admin_url: URL of a role that may create roles; without it the roles must exist.
        service_urls: URL of each service; if empty, all services connect as the owner.

    Raises:
        SchemaMismatch, MigrationBlocked, MigrationRefused, RoleMissing: see `upgrade` and
            `roles.grant`.
    """
    given = service_urls or {}
    if admin_url:
        roles.establish(admin_url, owner_url, tuple(given.values()))
    found = upgrade(owner_url)
    if given and not is_later(found):
        roles.grant(owner_url, {name: roles.role_of(url) for name, url in given.items()})
    return found


def upgrade(
    url: str,
    revision: str = "head",
    *,
    scripts: Path = SCRIPTS,
    patience_seconds: float = RETRY_TIMEOUT_SECONDS,
) -> str:
    """Migrate a database and return its revision; concurrent callers wait for the first.

    The schema of a later release stays unchanged, if this release serves it.

    Args:
        url: URL of the database.
        revision: the target revision.
        scripts: the folder of migrations.
        patience_seconds: how long to try while tables are in use.

    Raises:
        SchemaMismatch: the schema belongs to a later release and this one cannot serve it.
        MigrationBlocked: the tables are too busy; try again later.
        MigrationRefused: something has to be changed first.
    """
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            pauses = list(_pauses(patience_seconds))
            _take_turn(connection, pauses)
            config = _alembic(connection, scripts)
            if not _is_later(connection, config):
                _migrate(connection, pauses, lambda: command.upgrade(config, revision))
                return revision_of(connection) or ""
            with Session(connection) as session:
                return require_served_schema(session)
    finally:
        engine.dispose()


def _alembic(connection: Connection, scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["connection"] = connection
    return config


def _pauses(seconds: float) -> Iterator[float]:
    """Yield growing pauses whose sum is `seconds`."""
    pause = MIN_RETRY_DELAY_SECONDS
    while seconds > 0:
        yield min(pause, seconds)
        seconds -= pause
        pause = min(2 * pause, MAX_RETRY_DELAY_SECONDS)


def _take_turn(connection: Connection, pauses: list[float]) -> None:
    """Wait until no other process migrates; the lock ends with the connection."""
    for pause in [*pauses, 0.0]:
        taken = connection.execute(TAKE_TURN, {"key": MIGRATION_LOCK}).scalar()
        connection.commit()
        if taken:
            return
        log.warning("migration.waiting", reason="another process migrates", pause_seconds=pause)
        time.sleep(pause)
    raise MigrationBlocked("another process has been migrating the database all the time")


def _is_later(connection: Connection, config: Config) -> bool:
    found = revision_of(connection)
    connection.rollback()
    head = ScriptDirectory.from_config(config).get_current_head() or ""
    return found is not None and (REVISION.fullmatch(found) is None or found > head)


def _migrate(connection: Connection, pauses: list[float], go: Callable[[], None]) -> None:
    """Run the migrations, waiting at most `LOCK_TIMEOUT_SECONDS` for each table lock."""
    connection.execute(BOUND_WAITING)
    connection.commit()
    for pause in [*pauses, 0.0]:
        try:
            go()
            connection.commit()
        except DBAPIError as error:
            connection.rollback()
            told = error.orig if isinstance(error.orig, psycopg.Error) else psycopg.Error()
            if told.sqlstate == REFUSED:
                raise MigrationRefused(told.diag.message_primary) from error
            if told.sqlstate not in IN_USE:
                raise
            log.warning("migration.waiting", reason="a table is in use", pause_seconds=pause)
            time.sleep(pause)
        else:
            return
    found = revision_of(connection)
    raise MigrationBlocked(
        f"tables were in use all the time, the schema is {found}: run `draw-admin migrate` again"
        " when less goes on"
    )


def seed_config(session: Session, config: ServerConfig) -> bool:
    """Write `config` as version 1, unless a configuration exists; return whether it was written."""
    written = session.connection().execute(
        text(
            "INSERT INTO server_config (version, document, created_by, comment)"
            " VALUES (1, CAST(:document AS jsonb), 'system', 'first configuration')"
            " ON CONFLICT DO NOTHING RETURNING version"
        ),
        {"document": config.model_dump_json()},
    )
    return written.first() is not None
