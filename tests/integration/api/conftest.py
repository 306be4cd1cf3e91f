"""The API in this process against a real PostgreSQL; only the shared one has a broker."""

import pytest
from sqlmodel import Session

from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.db.migrate import seed_config
from support import service_finder
from support.api import ApiHarness


@pytest.fixture(scope="module")
def module_database_url(postgres_url, template):
    """A migrated database that the tests of one file share."""
    with service_finder.cloned_database(postgres_url, template) as url:
        yield url


@pytest.fixture(scope="module")
def shared_api(module_database_url, worker_broker_url, tmp_path_factory):
    """An API shared by the tests of one file."""
    storage = tmp_path_factory.mktemp("storage")
    with ApiHarness(module_database_url, storage, broker_url=worker_broker_url) as api:
        with Session(api.database.engine) as session:
            seed_config(session, EVERYTHING)
            session.commit()
        yield api


@pytest.fixture
def api(database_url, tmp_path):
    """An API of this test alone."""
    with ApiHarness(database_url, tmp_path) as api:
        with Session(api.database.engine) as session:
            seed_config(session, EVERYTHING)
            session.commit()
        yield api
