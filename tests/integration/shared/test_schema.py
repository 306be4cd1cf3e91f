"""The migrated database is what the table classes say, so that neither is changed alone.

Not covered here: server defaults, which PostgreSQL writes in its own words.
"""

import base64

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from draw_shared.db.migrate import upgrade
from draw_shared.db.revisions import head_revision
from draw_shared.db.session import Database
from draw_shared.db.tables import metadata
from support import service_finder

pytestmark = pytest.mark.integration


def _designed(_object, name, kind, _reflected, _compared):
    """Leave out the partitions of the transaction log, which are made month by month."""
    return not (kind == "table" and name.startswith("transactions_"))


def test_migrated_schema_is_that_of_the_classes(database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": _designed, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_migrating_again_changes_nothing(database, database_url):
    upgrade(database_url)
    with database.session() as session:
        found = session.connection().execute(text("SELECT version_num FROM alembic_version"))
        assert found.scalars().all() == [head_revision()]


def test_secrets_of_webhooks_stay_the_same_keys(postgres_url):
    long, written = "0123456789abcdef" * 12, "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    similar = "whsec_ofOurs0123456"
    with service_finder.cloned_database(postgres_url, "template1") as url:
        upgrade(url, "0006")
        database = Database(url)
        with database.session() as session:
            session.connection().execute(
                text("INSERT INTO webhooks (secret) VALUES (:long), (:written), (:similar)"),
                {"long": long, "written": written, "similar": similar},
            )
            session.commit()
        upgrade(url)
        with database.session() as session:
            query = text("SELECT secret FROM webhooks ORDER BY id")
            found = session.connection().execute(query).scalars().all()
        database.dispose()
    rewritten = [f"whsec_{base64.b64encode(one.encode()).decode()}" for one in (long, similar)]
    assert found == [rewritten[0], written, rewritten[1]]


def test_every_line_finds_a_partition(database):
    with database.session() as session:
        for moment in ("1999-01-01", "now", "2999-01-01"):
            session.connection().execute(
                text(
                    "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica)"
                    " VALUES (gen_random_uuid(), CAST(:at AS timestamptz), 'c-echo', 'success',"
                    " 'r')"
                ),
                {"at": moment},
            )
        places = session.connection().execute(
            text("SELECT tableoid::regclass::text FROM transactions ORDER BY occurred_at")
        )
        names = places.scalars().all()
    assert names[0] == names[2] == "transactions_default"
    assert names[1] != "transactions_default"


def test_what_was_deleted_before_there_were_tombstones_gets_them(database, database_url):
    def run(*statements):
        with database.session() as session:
            for statement in statements:
                session.connection().execute(text(statement))
            session.commit()

    run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    upgrade(database_url, "0004")
    run(
        "INSERT INTO changes (kind, study_instance_uid, occurred_at)"
        " VALUES ('study.deleted', '1.1', '2026-01-02 03:04:05.678901Z'),"
        " ('study.stable', '1.2', now()), ('study.deleted', '1.3', '2026-01-02Z')",
        "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, actor, action,"
        " study_instance_uid) VALUES (gen_random_uuid(), '2026-01-02Z', 'management', 'success',"
        " 'r', 'clean-up', 'study.delete', '1.3'), (gen_random_uuid(), '2026-01-03Z',"
        " 'management', 'success', 'r', 'eve', 'study.delete', '1.4')",
    )
    upgrade(database_url)
    with database.session() as session:
        found = session.connection().execute(
            text("SELECT uid, deleted_by, to_timestamp(before_ns / 1e9) FROM tombstones ORDER BY 1")
        )
        placed = [(uid, by, f"{at:%d %H:%M:%S}") for uid, by, at in found]
    assert placed == [
        ("1.1", "", "02 03:04:05"),
        ("1.3", "clean-up", "01 00:00:00"),
        ("1.4", "eve", "03 00:00:00"),
    ]


REDUNDANT = """
    SELECT a.indexrelid::regclass::text FROM pg_index a
    JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
        AND b.indnkeyatts > a.indnkeyatts AND b.indpred IS NULL
        AND (b.indkey::int2[])[0:a.indnkeyatts - 1] = (a.indkey::int2[])[0:a.indnkeyatts - 1]
    JOIN pg_class ca ON ca.oid = a.indexrelid JOIN pg_class cb ON cb.oid = b.indexrelid
    WHERE a.indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        AND ca.relam = cb.relam AND NOT a.indisunique AND a.indpred IS NULL
        AND a.indkey[0] <> 0
"""


def test_no_index_is_the_beginning_of_another(database):
    with database.session() as session:
        assert session.connection().execute(text(REDUNDANT)).scalars().all() == []
