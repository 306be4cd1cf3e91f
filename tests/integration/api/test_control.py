"""Service control over REST; that the services obey is seen in tests/e2e/test_operation.py."""

import pytest
from sqlalchemy import text

pytestmark = pytest.mark.integration

SERVICES = "/api/v1/services"


@pytest.fixture
def operator(api):
    for replica, state, age in (("a-scp", "ready", 1), ("b-scp", "ready", 60), ("c", "ended", 60)):
        with api.database.session() as session:
            session.connection().execute(
                text(
                    "INSERT INTO service_replicas (replica, service, state, started_at,"
                    " heartbeat_at, active_associations) VALUES (:replica, 'scp', :state,"
                    " now() - interval '1 hour', now() - make_interval(secs => :age), 3)"
                ),
                {"replica": replica, "state": state, "age": age},
            )
            session.commit()
    return api.of_role("operator")


def replicas(client):
    return {r["replica"]: r for r in client.get(f"{SERVICES}/scp").json()["replicas"]}


def test_a_replica_without_heartbeat_is_gone_and_has_no_associations(operator):
    seen = replicas(operator)
    assert {name: r["state"] for name, r in seen.items()} == {
        "a-scp": "ready",
        "b-scp": "gone",
        "c": "ended",
    }
    assert seen["a-scp"]["uptime_seconds"] > 3599
    assert seen["b-scp"]["uptime_seconds"] == 0
    assert operator.get(f"{SERVICES}/scp").json()["active_associations"] == 3


def test_one_replica_or_all_are_told(api, operator):
    operator.post(f"{SERVICES}/scp/stop", params={"replica": "a-scp"}).raise_for_status()
    assert [r["desired_state"] for r in replicas(operator).values()] == [
        "stopped",
        "running",
        "running",
    ]
    answer = operator.post(f"{SERVICES}/scp/stop").json()
    assert (answer["desired_state"], answer["changed_by"]) == ("stopped", "operator")
    operator.post(f"{SERVICES}/scp/start").raise_for_status()
    assert {r["desired_state"] for r in replicas(operator).values()} == {"running"}
    assert api.actions()[-1] == ("operator", "service.start", "scp all")


def test_each_restart_counts(api, operator):
    for _ in range(2):
        operator.post(f"{SERVICES}/indexer/restart").raise_for_status()
    (row,) = api.rows("SELECT restart_generation, desired_state FROM service_controls")
    assert (row["restart_generation"], row["desired_state"]) == (2, "running")


def test_what_cannot_be_told(operator):
    assert operator.post(f"{SERVICES}/api/stop").status_code == 409
    assert operator.post(f"{SERVICES}/api/restart").status_code == 409
    missing = operator.post(f"{SERVICES}/scp/stop", params={"replica": "nobody"})
    assert missing.status_code == 404
    assert operator.post(f"{SERVICES}/scp/explode").status_code == 422
    assert operator.post(f"{SERVICES}/mail/stop").status_code == 422
