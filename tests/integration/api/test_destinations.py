"""Destinations over REST: how they do, holding them, and what they name.

The worker's planner looks at the same rows: both mean the same by paused and draining.
"""

import pytest

from support.planned_deliveries import PlannedDeliveries

pytestmark = pytest.mark.integration

DESTINATIONS = "/api/v1/destinations"
ROUTING = "/api/v1/routing"
NODE = {"name": "PLANNING", "ae_title": "PLAN", "host": "192.0.2.17", "port": 104}
PLANNING = {"kind": "node", "name": "planning", "remote_node": "PLANNING"}
ARCHIVE = {"kind": "folder", "name": "archive", "path": "/var/lib/handlers/archive"}
DESK = {"kind": "folder", "name": "desk two", "path": "/var/lib/handlers/desk"}
CHAIN = {
    "kind": "celery",
    "name": "chain",
    "task": "draw.tasks.process",
    "place": {"path": "/var/lib/handlers/chain"},
}
HOOK = {"kind": "webhook", "name": "hook", "webhook_id": 1}
PRIORS = {"kind": "priors", "name": "earlier", "remote_node": "PLANNING"}
GROUP = {"kind": "group", "name": "both", "mode": "failover", "members": ["planning", "archive"]}


@pytest.fixture
def made(api):
    return PlannedDeliveries(api.database)


@pytest.fixture
def admin(api):
    return api.of_role("admin")


def put(client, *destinations):
    body = {"destinations": destinations, "rules": []}
    return client.put(ROUTING, json=body, headers={"If-Match": "*"})


def problems(answer):
    assert answer.status_code == 422, answer.text
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def refusal(answer):
    assert answer.status_code == 409, answer.text
    return answer.json()["detail"]


def test_a_destination_says_where_it_goes_and_how_it_does(made, admin):
    admin.post("/api/v1/nodes", json=NODE).raise_for_status()
    made.put(PLANNING, ARCHIVE, CHAIN, HOOK, GROUP, PRIORS)
    made.deliver("planning")
    made.deliver("planning", state="waiting")
    made.deliver("archive", state="delivered")
    made.deliver("both", state="delivered")
    made.execute(
        "INSERT INTO destination_states (name, failures, failing_since, last_error_at, last_error,"
        " in_force) VALUES ('planning', 2, now(), now(), 'refused', ''),"
        " ('both', 0, NULL, NULL, '', 'archive')"
    )
    planning, archive, chain, hook, both, priors = admin.get(DESTINATIONS).json()
    assert priors["goes_to"] == f"has earlier studies retrieved from {planning['goes_to']}"
    assert planning["goes_to"] == "the remote node PLANNING (PLAN@192.0.2.17:104)"
    assert (planning["mode"], planning["mode_since"]) == ("active", None)
    assert [planning[state] for state in ("pending", "running", "waiting")] == [1, 0, 1]
    assert planning["oldest_seconds"] >= 0
    assert (planning["failures"], planning["last_error"]) == (2, "refused")
    assert (archive["delivered_last_hour"], archive["oldest_seconds"]) == (1, None)
    assert "the queue celery" in chain["goes_to"]
    assert hook["goes_to"] == "the webhook 1"
    assert (both["in_force"], both["members"]) == ("archive", ["planning", "archive"])
    assert (archive["last_success_at"], both["last_success_at"] is None) == (None, False)
    assert admin.get(f"{DESTINATIONS}/planning").json() | {"oldest_seconds": 0} == planning | {
        "oldest_seconds": 0
    }
    assert admin.get(f"{DESTINATIONS}/none").status_code == 404


def test_a_paused_destination_begins_nothing_until_it_is_resumed(api, made, admin):
    made.put(DESK)
    one = made.deliver("desk two")
    paused = admin.post(f"{DESTINATIONS}/desk two/pause").json()
    assert (paused["mode"], paused["mode_by"]) == ("paused", "admin")
    assert admin.post(f"{DESTINATIONS}/desk two/pause").json()["mode_since"] == paused["mode_since"]
    assert made.plan() == 0
    assert admin.post(f"{DESTINATIONS}/desk two/resume").json()["mode"] == "active"
    assert made.plan() == 1
    assert made.with_job(one)["state"] == "running"
    assert [action for _, action, _ in api.actions() if action.startswith("destination")] == [
        "destination.pause",
        "destination.resume",
    ]
    assert admin.post(f"{DESTINATIONS}/none/pause").status_code == 404


def test_a_draining_destination_gets_only_what_was_decided_before(made, admin):
    made.put(ARCHIVE)
    before = made.deliver("archive")
    admin.post(f"{DESTINATIONS}/archive/drain").raise_for_status()
    after = made.deliver("archive")
    assert made.plan() == 1
    assert (made.with_job(before)["state"], made.with_job(after)["state"]) == ("running", "pending")
    admin.post(f"{DESTINATIONS}/archive/drain").raise_for_status()
    assert made.plan() == 0
    admin.post(f"{DESTINATIONS}/archive/resume").raise_for_status()
    assert made.plan() == 1


def test_a_group_that_stands_for_its_members_is_held_by_holding_these(made, admin, api):
    whole = GROUP | {"mode": "all", "members": ["archive", "desk two"]}
    made.put(ARCHIVE, DESK, whole)
    assert admin.get(f"{DESTINATIONS}/both").json()["members_get"] == "all"
    for action in ("pause", "drain"):
        answer = refusal(admin.post(f"{DESTINATIONS}/both/{action}"))
        assert "stands for each of its members" in answer
        assert "archive, desk two" in answer
    assert admin.get(f"{DESTINATIONS}/both").json()["mode"] == "active"
    page = admin.get("/routing/destinations/both").text
    assert "/routing/destinations/both/pause" not in page
    assert "of each member" in page
    assert "of each member" in admin.get("/routing/destinations").text
    made.put(ARCHIVE, DESK, whole | {"mode": "any"})
    assert admin.post(f"{DESTINATIONS}/both/pause").is_success
    made.put(ARCHIVE, DESK, whole)
    assert admin.post(f"{DESTINATIONS}/both/resume").json()["mode"] == "active"


def test_what_a_document_names_must_be_there(admin, tmp_path):
    missing = problems(put(admin, ARCHIVE, PLANNING, HOOK, PRIORS))
    assert "no such remote node" in missing["destinations.3.remote_node"]
    assert "no such remote node" in missing["destinations.1.remote_node"]
    assert "no such webhook" in missing["destinations.2.webhook_id"]
    inner = DESK | {"path": "/var/lib/handlers/archive/inner"}
    assert "archive" in problems(put(admin, ARCHIVE, inner))["destinations.1.path"]
    same = DESK | {"path": "//var/lib/handlers/archive"}
    assert "archive" in problems(put(admin, ARCHIVE, same))["destinations.1.path"]
    place = CHAIN | {"place": {"path": "/var/lib/handlers"}}
    assert "archive" in problems(put(admin, ARCHIVE, place))["destinations.1.place.path"]
    stored = ARCHIVE | {"path": str(tmp_path / "objects")}
    assert "storage" in problems(put(admin, stored))["destinations.0.path"]
    assert admin.get(ROUTING).json()["version"] == 0
    assert put(admin, ARCHIVE, DESK, CHAIN).status_code == 200


def test_an_earlier_version_comes_back_only_if_what_it_names_is_there(admin):
    node = admin.post("/api/v1/nodes", json=NODE).json()
    assert put(admin, PLANNING).status_code == 200
    assert put(admin, ARCHIVE).status_code == 200
    assert admin.delete(f"/api/v1/nodes/{node['id']}").status_code == 204
    restored = admin.post(f"{ROUTING}/versions/1/restore", headers={"If-Match": "*"})
    assert "destinations.0.remote_node" in problems(restored)
    admin.post("/api/v1/nodes", json=NODE).raise_for_status()
    restored = admin.post(f"{ROUTING}/versions/1/restore", headers={"If-Match": "*"})
    assert restored.status_code == 200


def test_what_the_rules_in_force_name_stays(admin):
    node = admin.post("/api/v1/nodes", json=NODE).json()
    hook = admin.post("/api/v1/webhooks", json={"url": "https://one.example/"}).json()
    assert put(admin, PLANNING, HOOK | {"webhook_id": hook["id"]}).status_code == 200
    path = f"/api/v1/nodes/{node['id']}"
    assert "planning" in refusal(admin.delete(path))
    assert "planning" in refusal(admin.put(path, json=NODE | {"name": "OTHER"}))
    assert "hook" in refusal(admin.delete(f"/api/v1/webhooks/{hook['id']}"))
    assert admin.put(path, json=NODE | {"port": 105}).status_code == 200
    assert put(admin, ARCHIVE).status_code == 200
    assert admin.put(path, json=NODE | {"name": "OTHER"}).status_code == 200
    assert admin.delete(path).status_code == 204
    assert admin.delete(f"/api/v1/webhooks/{hook['id']}").status_code == 204
