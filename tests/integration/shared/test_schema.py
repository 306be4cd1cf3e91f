"""The migrated database is what the table classes say, so that neither is changed alone.

Not covered here: server defaults, which PostgreSQL writes in its own words.
"""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from draw_shared.db.migrate import head_revision, upgrade
from draw_shared.db.tables import metadata

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
