"""Jobs that need somebody: which ones the dashboard shows, and what its button does."""

import json
import re
from uuid import uuid4

import pytest
from sqlalchemy import text

pytestmark = pytest.mark.integration

ADD = text(
    "INSERT INTO jobs (id, kind, state, node_id, parameters, created_by, finished_at)"
    " VALUES (:id, :kind, :state, :node, CAST(:parameters AS jsonb), 'anna',"
    " CASE WHEN :state = 'waiting' THEN NULL ELSE now() END)"
)
SENT = {"study_instance_uid": "1.2.3", "series_instance_uid": "1.2.3.4", "sop_instance_uids": []}
FETCHED = {"study_instance_uid": "1.2.3"}


@pytest.fixture
def operator(api):
    return api.of_role("operator")


@pytest.fixture
def add(api):
    """Adds a job of a node and returns its id."""
    token = {"Authorization": f"Bearer {api.token()}"}
    node = {"name": "PACS", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    node_id = api.client().post("/api/v1/nodes", json=node, headers=token).json()["id"]

    def added(kind, state, parameters):
        values = {"id": uuid4(), "kind": kind, "state": state, "node": node_id}
        with api.database.session() as session:
            session.connection().execute(ADD, values | {"parameters": json.dumps(parameters)})
            session.commit()
        return str(values["id"])

    return added


def shown(client):
    return set(
        re.findall(r'<li class="warn">[^\n]*?href="/jobs/([0-9a-f-]{36})"', client.get("/").text)
    )


def press(client, job_id):
    form = {"csrf_token": client.headers["X-CSRF-Token"]}
    return client.post(f"/jobs/{job_id}/retry", data=form)


@pytest.mark.parametrize(
    ("kind", "state", "parameters"),
    [
        ("send", "failed", SENT), ("send", "partial", SENT), ("retrieve", "failed", FETCHED),
        ("echo", "failed", {}),
    ],
)  # fmt: skip
def test_a_job_that_failed_is_queued_once_more_by_its_button(
    api, operator, add, kind, state, parameters
):
    job_id = add(kind, state, parameters)
    assert shown(operator) == {job_id}
    for place in ("/", f"/jobs/{job_id}"):
        assert f'action="/jobs/{job_id}/retry"' in operator.get(place).text
    answer = press(operator, job_id)
    assert answer.status_code == 303, answer.text
    new = answer.headers["Location"].rpartition("/")[2]
    [queued] = api.rows("SELECT kind, state, parameters FROM jobs WHERE id = :id", id=new)
    assert (queued["kind"], queued["state"]) == (kind, "queued")
    assert parameters.items() <= queued["parameters"].items()
    assert shown(operator) == set()
    assert f'href="/jobs/{new}"' in operator.get(f"/jobs/{job_id}").text
    assert press(operator, new).status_code == 409


def test_tests_of_nodes_that_wait_do_not_push_out_what_failed(operator, add):
    failed = add("send", "failed", SENT)
    for _ in range(6):
        add("echo", "waiting", {})
    waiting = add("retrieve", "waiting", FETCHED)
    assert shown(operator) == {failed, waiting}
    assert "further job" not in operator.get("/").text
