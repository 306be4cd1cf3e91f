"""Fixtures that more than one folder of tests needs."""

import gc

import pytest

from draw_shared.db.session import Database
from support import faults, service_finder
from support.suite import Suite
from tools import checkpoint

checkpoint.install()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Let the garbage collector leave alone what is imported: nothing of it is garbage."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_sessionfinish(session):
    """Leave nothing behind; workers end before the process that started them."""
    if not hasattr(session.config, "workerinput"):
        service_finder.forget_run_folder()


def pytest_collection_modifyitems(items):
    """Let clients of other projects leave sockets and processes to the collector.

    They do when a server is killed, stopped or not there, which is what these tests are about.
    """
    left = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if {"e2e", "faults"} & set(item.path.parts):
            item.add_marker(left)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip a test that needs a program which is not installed, or in CI fail it."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            service_finder.program(name)


@pytest.fixture(scope="session")
def postgres_url():
    """URL of a PostgreSQL server on which databases may be made."""
    return service_finder.postgres_url()


@pytest.fixture(scope="session")
def template(postgres_url):
    """Name of a migrated, empty database; clone it, do not use it."""
    return service_finder.migrated_template(postgres_url)


@pytest.fixture(scope="session")
def worker_database_url(postgres_url, template):
    """URL of a migrated database that the tests of this worker share."""
    with service_finder.cloned_database(postgres_url, template) as url:
        yield url


@pytest.fixture
def database_url(postgres_url, template):
    """URL of a migrated, empty database of this test alone."""
    with service_finder.cloned_database(postgres_url, template) as url:
        yield url


@pytest.fixture
def database(database_url):
    """A migrated, empty database of this test alone."""
    database = Database(database_url, pool_size=10)
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def broker():
    """A RabbitMQ server on which virtual hosts may be made."""
    return service_finder.broker()


@pytest.fixture(scope="session")
def worker_broker_url(broker):
    """URL of a virtual host that the tests of this worker share."""
    with broker.vhost() as url:
        yield url


@pytest.fixture
def broker_url(broker):
    """URL of an empty virtual host of this test alone."""
    with broker.vhost() as url:
        yield url


@pytest.fixture
def own_postgres(tmp_path):
    """A PostgreSQL that this test may stop and start, with a migrated database `draw`."""
    with faults.own_postgres(tmp_path / "own-postgres") as server:
        yield server


@pytest.fixture
def suite(tmp_path, database_url, broker_url):
    """A seeded suite with nothing started yet; what is started ends with the test."""
    suite = Suite(tmp_path, database_url, broker_url)
    suite.seed()
    yield suite
    suite.end()


@pytest.fixture(scope="module")
def running_suite(tmp_path_factory, postgres_url, template, broker):
    """All four services running and ready, shared by the tests of one file."""
    with (
        service_finder.cloned_database(postgres_url, template) as database_url,
        broker.vhost() as broker_url,
    ):
        suite = Suite(tmp_path_factory.mktemp("suite"), database_url, broker_url)
        suite.seed()
        try:
            suite.start()
            yield suite
        finally:
            suite.end()
