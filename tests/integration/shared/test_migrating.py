"""Migrations while others use the database, and schemas of other releases.

Not covered here: the services that go on meanwhile (tests/e2e/test_upgrades.py).
"""

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from structlog.testing import capture_logs

from draw_shared.db.guard import SchemaMismatch, require_served_schema
from draw_shared.db.migrate import MigrationBlocked, upgrade
from draw_shared.db.revisions import OLDEST_SERVED, head_revision
from draw_shared.db.session import Database
from draw_shared.db.tables import metadata
from draw_shared.runtime.schema_watch import SchemaWatch
from support import service_finder
from support.next_release import EXPAND, TABLES, LaterRelease
from support.suite import rows
from support.waiting import wait_until

pytestmark = pytest.mark.integration

HEAD = head_revision()
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'ALTER%'
"""
ADDED = (
    "SELECT table_name FROM information_schema.columns"
    " WHERE column_name = 'next_words' ORDER BY table_name"
)


def _run(database, *statements):
    with database.session() as session:
        found = [session.connection().execute(text(statement)) for statement in statements]
        session.commit()
    return found


def _found(url):
    return rows(url, "SELECT version_num FROM alembic_version")[0]["version_num"]


@pytest.fixture
def later(tmp_path):
    return LaterRelease(tmp_path)


@pytest.fixture
def empty_url(postgres_url):
    with service_finder.cloned_database(postgres_url, "template1") as url:
        yield url


def test_each_schema_says_from_which_release_on_it_is_served(database_url, later):
    later.add(EXPAND, compatible_from=HEAD)
    assert upgrade(database_url, scripts=later.scripts) == later.head
    query = "SELECT revision, compatible_from FROM schema_revisions ORDER BY revision DESC LIMIT 2"
    said = [(row["revision"], row["compatible_from"]) for row in rows(database_url, query)]
    assert said[0] == (later.head, HEAD)
    assert said[1][0] == HEAD


def test_the_oldest_schema_that_is_served_has_all_that_this_release_names(empty_url):
    upgrade(empty_url, OLDEST_SERVED)
    database = Database(empty_url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)
    database.dispose()
    lacking = [one for one in found if one[0] in {"add_table", "add_column", "modify_type"}]
    assert lacking == [], "this release needs a later schema: raise OLDEST_SERVED"


def test_a_later_schema_is_served_until_its_migrations_leave_this_release_behind(
    database, database_url, later
):
    later.add(EXPAND, compatible_from=HEAD)
    upgrade(database_url, scripts=later.scripts)
    assert upgrade(database_url) == later.head
    with database.session() as session:
        assert require_served_schema(session) == later.head
    later.add('op.drop_column("studies", "held")', kind="contract", compatible_from=later.head)
    upgrade(database_url, scripts=later.scripts)
    with pytest.raises(SchemaMismatch, match="run a later one"), database.session() as session:
        require_served_schema(session)
    with pytest.raises(SchemaMismatch, match="run a later one"):
        upgrade(database_url)


def test_an_older_and_a_foreign_schema_are_not_served(empty_url):
    database = Database(empty_url)

    def refused():
        with pytest.raises(SchemaMismatch) as told, database.session() as session:
            require_served_schema(session)
        return str(told.value)

    assert "no schema yet" in refused()
    upgrade(empty_url, "0015")
    assert "the schema is 0015" in refused()
    _run(database, "UPDATE alembic_version SET version_num = 'ae1027a6acf'")
    assert "belongs to something else" in refused()
    with pytest.raises(SchemaMismatch, match="belongs to something else"):
        upgrade(empty_url)
    database.dispose()


def test_a_statement_that_the_schema_has_left_behind_may_be_tried_again(
    database, database_url, later
):
    with pytest.raises(ProgrammingError), database.session() as session:
        session.connection().execute(text("SELECT nothing_like_that FROM studies"))
    later.add(
        'op.drop_column("studies", "held")', kind="contract", compatible_from=f"{int(HEAD) + 1:04d}"
    )
    upgrade(database_url, scripts=later.scripts)
    with pytest.raises(SchemaMismatch), database.session() as session:
        session.connection().execute(text("SELECT held FROM studies"))


def test_who_watches_says_a_later_schema_once_and_why_one_is_not_served(
    database, database_url, later
):
    registry = CollectorRegistry()
    watch = SchemaWatch(registry)

    def look():
        with database.session() as session:
            watch.look(session)

    def shown(of):
        return registry.get_sample_value("draw_service_schema_revision", {"of": of})

    assert (shown("database"), shown("release")) == (0, int(HEAD))
    with capture_logs() as lines:
        look()
        later.add(EXPAND, compatible_from=HEAD)
        upgrade(database_url, scripts=later.scripts)
        look()
        look()
    assert lines == [
        {"event": "schema.later_release", "log_level": "info", "schema": later.head,
         "release": HEAD}
    ]  # fmt: skip
    assert (shown("database"), watch.reason) == (int(later.head), "")
    assert watch.seen == {"database": later.head, "release": HEAD}
    later.add("pass", kind="contract", compatible_from=later.head)
    upgrade(database_url, scripts=later.scripts)
    with pytest.raises(SchemaMismatch):
        look()
    assert later.head in watch.reason
    assert shown("database") == int(later.head)


def test_a_migration_that_waits_for_a_table_keeps_nobody_else_out(database, database_url, later):
    later.expand()
    done = []
    migrating = threading.Thread(
        target=lambda: done.append(upgrade(database_url, scripts=later.scripts))
    )
    with database.engine.connect() as reader, database.engine.connect() as other:
        reader.execute(text("SELECT count(*) FROM jobs"))
        migrating.start()
        # It waits, and who comes behind it gets in when it lets go.
        assert wait_until(lambda: rows(database_url, WAITING)[0]["count"] == 1, 60)
        assert other.execute(text("SELECT count(*) FROM jobs")).scalar() == 0
        other.rollback()
        assert wait_until(lambda: rows(database_url, WAITING)[0]["count"] == 0, 60)
        assert _found(database_url) == HEAD
        assert rows(database_url, ADDED) == []
    migrating.join(120)
    assert done == [later.head]
    added = {row["table_name"] for row in rows(database_url, ADDED)}
    assert {"jobs", *TABLES} <= added
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_instances_next_words'::regclass"
    assert rows(database_url, valid) == [{"indisvalid": True}]


def test_a_migration_that_gets_no_table_says_so_and_leaves_nothing_half_done(
    database, database_url, later
):
    later.add(EXPAND, compatible_from=HEAD)
    with database.engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM jobs"))
        with pytest.raises(MigrationBlocked, match=f"the schema is {HEAD}: run `draw-admin mig"):
            upgrade(database_url, scripts=later.scripts, patience_seconds=0)
    assert rows(database_url, ADDED) == []
    assert upgrade(database_url, scripts=later.scripts) == later.head


def test_lists_of_everything_do_not_mind_another_column(database_url, later):
    database = Database(database_url, plan_for_values=True)

    def columns():
        with database.session() as session:
            found = len(session.connection().execute(text("SELECT * FROM jobs")).keys())
            # A rollback would make the driver forget what it has prepared.
            session.commit()
        return found

    # As often as it takes until a driver that prepares statements has prepared it.
    before = {columns() for _ in range(8)}
    later.add(EXPAND, compatible_from=HEAD)
    upgrade(database_url, scripts=later.scripts)
    assert {columns()} == {number + 1 for number in before}
    database.dispose()


def test_concurrent_callers_wait_for_the_first(empty_url):
    reached = []
    callers = [
        threading.Thread(target=lambda: reached.append(upgrade(empty_url))) for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(120)
    assert reached == [HEAD] * 3
