"""The history of queries, narrowed by node, person and day."""

from datetime import UTC, datetime, timedelta

import pytest

from support.suite import all_pages

pytestmark = pytest.mark.integration

QUERIES = "/api/v1/queries"


@pytest.fixture
def admin(api):
    return api.with_session("admin")


def test_the_history_is_narrowed(api, admin):
    nodes = [
        admin.post(
            "/api/v1/nodes", json={"name": n, "ae_title": n, "host": "127.0.0.1", "port": 1}
        ).json()["id"]
        for n in ("ONE", "TWO")
    ]
    operator = api.of_role("operator")

    def ask(client, *node_ids):
        body = {"node_ids": list(node_ids), "keys": {"PatientID": "1"}, "max_age_seconds": 0}
        answer = client.post(QUERIES, json=body)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{QUERIES}/{answer.json()['id']}"
        return answer.json()["id"]

    first, second, both = ask(admin, nodes[0]), ask(operator, nodes[1]), ask(operator, *nodes)

    def found(**asked):
        return [query["id"] for query in all_pages(admin, QUERIES, limit=1, **asked)]

    assert found() == [both, second, first]
    assert found(node_id=nodes[0]) == [both, first]
    assert found(created_by="operator") == [both, second]
    assert found(created_by="operator", node_id=nodes[0]) == [both]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert found(since=tomorrow) == []
    assert found(until=tomorrow, created_by="admin") == [first]
    today = datetime.now(UTC).date().isoformat()
    shown = admin.get("/queries/history", params={"created_by": "operator", "date_to": today}).text
    assert second in shown
    assert first not in shown
    assert "No query matches" in admin.get("/queries/history", params={"created_by": "nobody"}).text


def test_who_may_only_read_sees_the_history_instead_of_the_form(api, admin):
    viewer = api.of_role("viewer")
    shown = viewer.get("/queries")
    assert shown.status_code == 200
    assert "No query has been sent yet" in shown.text
    assert "/queries/new" not in shown.text
    moved = admin.get("/queries", params={"created_by": "admin", "cursor": ""})
    assert moved.status_code == 303
    assert moved.headers["Location"].startswith("/queries/history?created_by=admin")
