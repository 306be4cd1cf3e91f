"""Asking for what is on the way already; how jobs are executed is the workers' tests' matter."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import text

pytestmark = pytest.mark.integration

NIGHT = {"days": ["mon", "tue"], "start": "22:00", "end": "06:00"}
NOON = {"days": ["wed"], "start": "11:00", "end": "13:00"}
TONIGHT = datetime.now(UTC) + timedelta(hours=8)
WAITS = text("UPDATE jobs SET state = 'waiting', not_before = :at, error = 'closed' WHERE id = :id")
CONGESTED = text(
    """
    UPDATE remote_nodes SET congestion = '{"limit": 2, "refusals": 0, "rest_until": null,
        "changed_at": "2026-11-01T10:00:00+00:00", "reason": "its limit is reached"}'
    WHERE id = :id
    """
)
_numbers = count(1)


@pytest.fixture(scope="module")
def operator(shared_api):
    return shared_api.of_role("operator")


@pytest.fixture
def ask(operator):
    """Return what asks a node of this test's own for studies and returns the answer."""
    settings = {"name": f"n{next(_numbers)}", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    node_id = operator.post("/api/v1/nodes", json=settings).json()["id"]

    def asked(*studies, status=201, **options):
        items = [{"study_instance_uid": study} for study in studies]
        body = {"node_id": node_id, "items": items, **options}
        answer = operator.post("/api/v1/retrieves", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    return asked


def test_an_urgent_request_pulls_forward_what_is_scheduled_for_tonight(ask):
    planned = ask("1.1", priority=9, not_before=TONIGHT.isoformat())
    assert planned["state"] == "scheduled"
    urgent = ask("1.1", priority=1, status=200)
    assert urgent["id"] == planned["id"]
    assert (urgent["state"], urgent["not_before"], urgent["priority"]) == ("queued", None, 1)


def test_nothing_is_put_off_by_asking_for_it_later_or_less_urgently(ask):
    planned = ask("1.1", priority=2, not_before=TONIGHT.isoformat())
    later = TONIGHT + timedelta(days=1)
    same = ask("1.1", priority=9, not_before=later.isoformat(), windows=[NIGHT], status=200)
    assert same == planned
    sooner = TONIGHT - timedelta(hours=1)
    moved = ask("1.1", priority=9, not_before=sooner.isoformat(), status=200)
    assert (moved["state"], moved["priority"]) == ("scheduled", 2)
    assert datetime.fromisoformat(moved["not_before"]) == sooner


def test_a_job_held_to_windows_is_let_out_of_them_or_into_more(ask, shared_api):
    def windows(job):
        [row] = shared_api.rows("SELECT parameters FROM jobs WHERE id = :id", id=job["id"])
        return row["parameters"].get("windows")

    planned = ask("1.1", windows=[NIGHT])
    with shared_api.database.session() as session:
        session.connection().execute(WAITS, {"id": planned["id"], "at": TONIGHT})
        session.commit()
    assert ask("1.1", windows=[NIGHT], status=200)["state"] == "waiting"
    both = ask("1.1", windows=[NOON], status=200)
    assert (both["state"], both["error"]) == ("queued", "")
    assert windows(planned) == [NIGHT, NOON]
    ask("1.1", status=200)
    assert windows(planned) is None


def test_of_a_list_what_is_new_is_added_and_what_is_planned_is_pulled_forward(
    ask, operator, shared_api
):
    batch = ask("1.1", "1.2", not_before=TONIGHT.isoformat())
    more = ask("1.2", "1.3")
    assert (more["children"], more["result"]["already_on_the_way"]) == ({"queued": 1}, 1)
    path = f"/api/v1/retrieves/{batch['id']}"
    assert operator.get(path).json()["children"] == {"queued": 1, "scheduled": 1}
    whole = ask("1.1", "1.2", status=200)
    assert (whole["id"], whole["children"]) == (batch["id"], {"queued": 2})
    ask("1.1", "1.2", status=409)
    assert len([1 for _, name, _ in shared_api.actions() if name == "retrieve.prioritise"]) >= 2


def test_a_series_listed_twice_is_one_job(ask, operator):
    node_id = ask("1.1")["node_id"]
    series = {"study_instance_uid": "1.5", "series_instance_uid": "1.5.1"}
    body = {"node_id": node_id, "items": [series, series]}
    answer = operator.post("/api/v1/retrieves", json=body)
    assert (answer.status_code, answer.json()["kind"]) == (201, "retrieve")


def test_a_node_that_takes_less_for_now_says_so(shared_api, operator):
    settings = {"name": "busy", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    node_id = operator.post("/api/v1/nodes", json=settings | {"max_associations": 4}).json()["id"]
    with shared_api.database.session() as session:
        session.connection().execute(CONGESTED, {"id": node_id})
        session.commit()
    assert operator.get(f"/api/v1/nodes/{node_id}").json()["congestion"]["limit"] == 2
    page = operator.get(f"/nodes/{node_id}").text
    assert "4 associations, 2 for now" in page
    assert "It refused more than 2 associations at a time" in page
    assert "Takes 2 at a time for now" in operator.get("/nodes").text
    operator.put(f"/api/v1/nodes/{node_id}", json=settings)
    assert operator.get(f"/api/v1/nodes/{node_id}").json()["congestion"] == {}
