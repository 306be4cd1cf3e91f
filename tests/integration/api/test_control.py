"""Service control over REST; that the services obey is seen in tests/e2e/test_operation.py."""

import json
import re

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


def test_the_dashboard_shows_where_each_receiver_really_listens(api, operator):
    def told(replica, problem="", **bound):
        with api.database.session() as session:
            session.connection().execute(
                text(
                    "UPDATE service_replicas SET heartbeat_at = now(), state = 'ready',"
                    " last_error = :problem, details = CAST(:details AS jsonb)"
                    " WHERE replica = :replica"
                ),
                {
                    "replica": replica,
                    "problem": problem,
                    "details": json.dumps({"bound": bound or None}),
                },
            )
            session.commit()

    def page():
        text = re.sub(r"<[^<>]+>", " ", operator.get("/").raise_for_status().text)
        return " ".join(text.split())

    assert "not receiving" in page(), "a receiver of an earlier release does not say"
    told("a-scp", host="0.0.0.0", port=104, tls=False)
    assert " 0.0.0.0:104 Open associations" in page()
    told("b-scp", host="0.0.0.0", port=104, tls=False)
    assert " 0.0.0.0:104 (2 of 2 receivers) " in page()
    why = "still on [::1]:105 with TLS, because <the key> is not there"
    told("b-scp", why, host="::1", port=105, tls=True)
    shown = page()
    assert " 0.0.0.0:104 (1 of 2 receivers) [::1]:105, TLS (1 of 2 receivers) " in shown
    assert "receiver b-scp is not as configured: still on [::1]:105 with TLS, because &lt;" in shown
    assert replicas(operator)["b-scp"]["dicom"] == {"host": "::1", "port": 105, "tls": True}
    told("a-scp")
    told("b-scp", "not listening, because port 104 is for root")
    assert "not receiving" in page()
    assert replicas(operator)["b-scp"]["dicom"] is None
    status = operator.get("/api/v1/status").raise_for_status().json()
    assert {r["dicom"] for r in status["replicas"]} == {None}


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
    assert operator.post(f"{SERVICES}/dicomweb/stop").status_code == 409
    assert not operator.get(f"{SERVICES}/dicomweb").json()["controllable"]
    missing = operator.post(f"{SERVICES}/scp/stop", params={"replica": "nobody"})
    assert missing.status_code == 404
    assert operator.post(f"{SERVICES}/scp/explode").status_code == 422
    assert operator.post(f"{SERVICES}/mail/stop").status_code == 422
