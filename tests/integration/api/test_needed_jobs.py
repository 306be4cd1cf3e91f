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
        re.findall(
            r'<li class="warn"[^>]*>[^\n]*?href="/jobs/([0-9a-f-]{36})"', client.get("/").text
        )
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


WAITS = text(
    "UPDATE jobs SET not_before = now() + interval '1 hour', error = 'no connection' WHERE id = :id"
)
TRIED = text(
    "INSERT INTO job_attempts (job_id, number, fence, worker, started_at, outcome)"
    " VALUES (:id, 1, 1, 'w', now(), 'retry')"
)
SPARED = text(
    "UPDATE remote_nodes SET circuit = jsonb_build_object('failures', 5, 'reason', 'no',"
    " 'open_until', now() + interval '1 hour')"
)
WORKER = text(
    "INSERT INTO service_replicas (service, replica, state, started_at, heartbeat_at)"
    " VALUES ('qr-worker', 'w', 'ready', now(), now())"
)


@pytest.mark.parametrize("spared", [True, False])
@pytest.mark.parametrize(
    ("kind", "parameters"), [("send", SENT), ("retrieve", FETCHED), ("find", {})]
)
def test_a_job_that_waits_after_failures_begins_at_once_by_its_button(
    api, operator, add, kind, parameters, spared
):
    job_id = add(kind, "waiting", parameters)
    with api.database.session() as session:
        for statement in (WORKER, WAITS, TRIED, *([SPARED] if spared else [])):
            session.connection().execute(statement, {"id": job_id})
        session.commit()
    for place in ("/", f"/jobs/{job_id}"):
        assert f'action="/jobs/{job_id}/retry"' in operator.get(place).text
    assert "ext try at" in operator.get("/").text.partition("Needs you")[2]
    answer = press(operator, job_id)
    assert answer.headers["Location"].endswith(job_id)
    [job] = api.rows("SELECT state, not_before FROM jobs")
    assert (job["state"], job["not_before"]) == ("queued", None)
    # The node is tried with one job, as after its pause.
    [node] = api.rows(
        "SELECT circuit->'failures' AS failures,"
        " (circuit->>'open_until')::timestamptz > now() AS spared FROM remote_nodes"
    )
    assert node == ({"failures": 5, "spared": False} if spared else dict.fromkeys(node))
    assert ("job.retry", job_id) in [(action, detail) for _, action, detail in api.actions()]


def test_a_job_that_waits_for_something_else_is_not_hastened(api, operator, add):
    job_id = add("send", "waiting", SENT)
    with api.database.session() as session:
        session.connection().execute(WORKER)
        session.connection().execute(text("UPDATE remote_nodes SET paused = true"))
        session.commit()
    assert press(operator, job_id).status_code == 409
    page = operator.get("/").text
    assert f'action="/jobs/{job_id}/retry"' not in page
    assert "Open the node" in page


def test_further_jobs_are_named_by_state_and_led_to(operator, add):
    for _ in range(4):
        add("send", "waiting", SENT)
    for _ in range(3):
        add("send", "partial", SENT)
    page = operator.get("/").text
    assert "And 2 further jobs" in page
    for state, number in (("waiting", 4), ("partial", 3)):
        assert f'href="/jobs/all?state={state}">{state.title()}: {number}<' in page
        assert operator.get(f"/jobs/all?state={state}").text.count('href="/jobs/') > number
    assert "state=failed" not in page


def test_the_dashboard_names_whose_study_a_job_is_about(operator, add):
    about = {"patient_name": "Doe^Jane", "study_description": "Knee", "study_date": "2026-01-02"}
    add("retrieve", "failed", FETCHED | {"about": about})
    row = operator.get("/").text.partition('<li class="warn" ')[2].partition("</li>")[0]
    assert "Doe, Jane" in row
    assert "Knee" in row


def test_tests_of_nodes_that_wait_do_not_push_out_what_failed(operator, add):
    failed = add("send", "failed", SENT)
    for _ in range(6):
        add("echo", "waiting", {})
    waiting = add("retrieve", "waiting", FETCHED)
    assert shown(operator) == {failed, waiting}
    assert "further job" not in operator.get("/").text
