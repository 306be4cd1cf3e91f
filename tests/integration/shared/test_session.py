"""How sessions fail, against a real PostgreSQL: by a type that says whether to try again."""

import pytest
from sqlalchemy import text

from draw_shared.db.session import Database, DatabaseUnavailable

pytestmark = pytest.mark.integration


def test_when_every_connection_is_in_use_the_next_session_may_be_tried_again(worker_database_url):
    database = Database(worker_database_url, pool_size=1)
    database.engine.pool._timeout = 0.1
    try:
        with database.session() as first, database.session() as overflow:
            first.connection()
            overflow.connection()
            with (
                pytest.raises(DatabaseUnavailable, match="every connection is in use"),
                database.session() as third,
            ):
                third.connection()
        with database.session() as session:
            assert session.connection().execute(text("SELECT 1")).scalar_one() == 1
    finally:
        database.dispose()


def test_nobody_there_may_be_tried_again():
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable), database.session() as session:
        session.connection()
