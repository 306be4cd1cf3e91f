"""The servers that tests stand on; containers are not covered here."""

import pytest
from sqlalchemy import text

from draw_shared.db.guard import require_current_schema
from draw_shared.db.session import Database
from support.service_finder import named

pytestmark = pytest.mark.integration


def test_a_test_gets_a_migrated_database_of_its_own(database_url, worker_database_url, database):
    assert database_url != worker_database_url
    with database.session() as session:
        require_current_schema(session)
        count = session.connection().execute(text("SELECT count(*) FROM studies")).scalar()
    assert count == 0


def test_a_database_is_gone_after_its_test(postgres_url, database_url):
    other = Database(named(postgres_url, "postgres"))
    with other.session() as session:
        names = session.connection().execute(text("SELECT datname FROM pg_database")).scalars()
        assert database_url.rpartition("/")[2] in set(names)
    other.dispose()


def test_a_test_gets_a_virtual_host_of_its_own(broker, broker_url, worker_broker_url):
    assert broker_url != worker_broker_url
    if broker.management_url:
        name = broker_url.rpartition("/")[2]
        assert broker.manage("GET", f"vhosts/{name}")["name"] == name
