"""One worker's adapters on a database of its own for each test, and rows to start from."""

import json
from datetime import UTC
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from draw_qr_worker.adapters.job_queries import PostgresJobQueue
from draw_qr_worker.adapters.node_queries import PostgresNodeStates
from draw_qr_worker.services.node_rules import (
    circuit_after_failure,
    closed_until,
    congestion_after_refusal,
    relieve_congestion,
    usable_nodes,
)


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
        return PostgresJobQueue(
            database,
            worker=worker,
            lease_seconds=lease_seconds,
            usable=usable_nodes,
            closed_until=closed_until,
            after_refusal=congestion_after_refusal,
            zone=UTC,
        )

    return build


@pytest.fixture
def nodes(database):
    return PostgresNodeStates(database, circuit_after_failure, relieve_congestion)
