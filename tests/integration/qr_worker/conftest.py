"""A migrated database of its own for each test, one worker's adapters on it, rows to start from."""

import json
import os
from datetime import UTC
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from draw_qr_worker.adapters.job_queries import PostgresJobs
from draw_qr_worker.adapters.node_queries import PostgresNodes
from draw_qr_worker.services.node_rules import circuit_after_failure, closed_until, usable
from draw_shared.db.migrate import upgrade
from draw_shared.db.session import Database, sqlalchemy_url


@pytest.fixture(scope="session")
def postgres_url():
    return os.environ.get("DRAW_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def _administer(url, statement):
    engine = create_engine(sqlalchemy_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _named(url, name):
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def template(postgres_url):
    """Name of a migrated, empty database."""
    name = f"qr_worker_template_{uuid4().hex[:8]}"
    _administer(postgres_url, f"CREATE DATABASE {name}")
    upgrade(_named(postgres_url, name))
    yield name
    _administer(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_url, template):
    name = f"qr_worker_{uuid4().hex[:12]}"
    _administer(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _named(postgres_url, name)
    _administer(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url):
    database = Database(database_url, pool_size=10)
    yield database
    database.dispose()


class Rows:
    """Puts rows in and looks at them."""

    def __init__(self, database):
        self._database = database

    def execute(self, statement, **values):
        with self._database.session() as session:
            result = session.connection().execute(text(statement), values)
            rows = result.mappings().all() if result.returns_rows else []
            session.commit()
        return rows

    def node(self, **values):
        values = {"name": f"n{uuid4().hex[:6]}", "ae_title": "PEER", "host": "127.0.0.1"} | values
        values.setdefault("port", 104)
        held = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in values.items()}
        names = ", ".join(held)
        marks = ", ".join(
            f"CAST(:{k} AS jsonb)" if isinstance(v, list | dict) else f":{k}"
            for k, v in values.items()
        )
        return self.execute(
            f"INSERT INTO remote_nodes ({names}) VALUES ({marks}) RETURNING id",  # noqa: S608
            **held,
        )[0]["id"]

    def job(self, node_id=None, kind="echo", state="queued", parameters=None, **values):
        job_id = uuid4()
        values = {
            "id": job_id,
            "node_id": node_id,
            "kind": kind,
            "state": state,
            "parameters": json.dumps(parameters or {}),
        } | values
        marks = ", ".join(f"CAST(:{k} AS jsonb)" if k == "parameters" else f":{k}" for k in values)
        self.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks})", **values)  # noqa: S608
        return job_id

    def read(self, job_id: UUID):
        return self.execute("SELECT * FROM jobs WHERE id = :id", id=job_id)[0]

    def attempts(self, job_id: UUID):
        return self.execute(
            "SELECT * FROM job_attempts WHERE job_id = :id ORDER BY number", id=job_id
        )


@pytest.fixture
def rows(database):
    return Rows(database)


@pytest.fixture
def store_of(database):
    """Return the job store of a worker by its name."""

    def build(worker="one", lease_seconds=30.0):
        return PostgresJobs(
            database,
            worker=worker,
            lease_seconds=lease_seconds,
            usable=usable,
            closed_until=closed_until,
            zone=UTC,
        )

    return build


@pytest.fixture
def nodes(database):
    return PostgresNodes(database, circuit_after_failure)
