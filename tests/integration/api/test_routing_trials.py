"""Replay of the last days with other rules, and rules applied to the archive, over REST.

That the indexer carries a batch out is in tests/integration/indexer.
"""

import pytest
from sqlalchemy import text

from draw_shared.access.principals import Role
from support import datasets
from support.indexed import IndexedStorage
from support.routing_documents import with_destinations

pytestmark = pytest.mark.integration

ROUTING = "/api/v1/routing"
REPLAY = f"{ROUTING}/replay"
BATCHES = f"{ROUTING}/batches"
CT = {"subject": "Modality", "operator": "equals", "value": "CT"}
MR = {"subject": "Modality", "operator": "equals", "value": "MR"}
OF_CT = {"name": "ct", "when": CT, "destinations": ["contouring"]}
OF_MR = {"name": "mr", "when": MR, "destinations": ["archive"]}

COMPLETE = text(
    """
    WITH done AS (UPDATE series SET stable_at = now() RETURNING series_instance_uid, study_pk)
    INSERT INTO changes (kind, study_instance_uid, series_instance_uid, reason)
    SELECT 'series.stable', s.study_instance_uid, d.series_instance_uid, 'quiet'
    FROM done d JOIN studies s ON s.id = d.study_pk
    """
)
DECIDE = text(
    """
    INSERT INTO routing_decisions (sequence, routing_version, trigger, study_instance_uid,
        series_instance_uid, applied, destinations)
    SELECT sequence, 1, 'series_complete', study_instance_uid, series_instance_uid, '{ct}',
        '{contouring}' FROM changes
    WHERE kind = 'series.stable' AND series_instance_uid = :uid
    """
)


def of_modality(modality):
    [found] = datasets.series(1)
    found.Modality = modality
    return found


@pytest.fixture
def archive(api):
    """A series of CT and one of MR, both complete."""
    first, second = of_modality("CT"), of_modality("MR")
    storage = IndexedStorage(api.settings.storage_root, api.database)
    storage.receive(first, second)
    storage.close()
    perform(api, COMPLETE)
    return first.SeriesInstanceUID, second.SeriesInstanceUID


@pytest.fixture
def admin(api):
    return api.with_session("admin")


def perform(api, statement, **values):
    with api.database.session() as session:
        session.connection().execute(statement, values)
        session.commit()


def put(client, *rules):
    tag = client.get(ROUTING).headers["ETag"]
    body = with_destinations({"rules": rules})
    answer = client.put(ROUTING, json=body, headers={"If-Match": tag})
    answer.raise_for_status()
    return answer.json()["version"]


def replay(client, *rules, **more):
    body = {"document": with_destinations({"rules": rules})} if rules else {}
    answer = client.post(REPLAY, json=body | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def fields(answer):
    assert answer.status_code == 422, answer.text
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def test_other_rules_are_compared_with_what_was_done(api, admin, archive):
    ct, mr = archive
    put(admin, OF_CT)
    perform(api, DECIDE, uid=ct)
    assert replay(admin)["different"] == 0
    found = replay(admin, OF_MR)
    assert (found["version"], found["series"], found["ended_by"]) == (None, 2, "all")
    different = {one["series_instance_uid"]: one for one in found["differences"]}
    assert different == {
        ct: different[ct] | {"added": [], "no_longer": ["contouring"], "rules": []},
        mr: different[mr] | {"added": ["archive"], "no_longer": [], "rules": ["mr"]},
    }
    assert found["destinations"] == [
        {"name": "archive", "would": 1, "was": 0, "added": 1, "no_longer": 0},
        {"name": "contouring", "would": 0, "was": 1, "added": 0, "no_longer": 1},
    ]
    assert found["rules"] == [
        {"name": "mr", "applies": 1, "undecided": 0, "applied": 0},
        {"name": "ct", "applies": 0, "undecided": 0, "applied": 1},
    ]
    assert api.rows("SELECT count(*) AS n FROM deliveries") == [{"n": 0}]
    assert api.actions()[-1] == ("admin", "routing.replay", "7 days, 2 series")


def test_a_series_that_was_complete_twice_counts_once(api, admin, archive):
    perform(api, COMPLETE)
    perform(api, DECIDE, uid=archive[0])
    found = replay(admin, OF_CT)
    assert (found["series"], found["different"]) == (2, 0)
    assert found["destinations"][0]["was"] == 1


def test_a_replay_that_leaves_series_out_says_so(api, admin, archive):
    found = replay(admin, OF_CT, limit=1)
    assert (found["series"], found["ended_by"]) == (1, "limit")
    perform(api, text("UPDATE changes SET occurred_at = now() - interval '2 days'"))
    assert replay(admin, OF_CT, days=1)["series"] == 0


def test_a_series_that_is_gone_is_said_to_be(api, admin, archive):
    perform(api, text("DELETE FROM instances"))
    perform(api, text("DELETE FROM series"))
    found = replay(admin, OF_CT)
    assert (found["series"], found["gone"]) == (0, 2)


def test_what_cannot_be_replayed_is_refused_beside_the_field(admin):
    wrong = OF_CT | {"when": CT | {"subject": "Nonsense"}}
    answer = admin.post(REPLAY, json={"document": with_destinations({"rules": [wrong]})})
    assert "document.rules.0.when.subject" in fields(answer)
    twice = admin.post(REPLAY, json={"document": with_destinations({"rules": [OF_CT, OF_CT]})})
    assert fields(twice) == {"document.rules.1.name": "is the name of an earlier rule"}
    assert "days" in fields(admin.post(REPLAY, json={"days": 8}))
    both = {"document": {"rules": []}, "version": 1}
    assert "give either document or version" in str(fields(admin.post(REPLAY, json=both)))
    assert admin.post(REPLAY, json={"version": 9}).status_code == 404


def test_a_batch_says_before_what_it_would_do(api, admin, archive):
    version = put(admin, OF_CT, OF_MR)
    answer = admin.post(BATCHES, json={"preview": True, "criteria": {"modality": "CT"}}).json()
    assert answer["listed"] == [
        {
            "series_instance_uid": archive[0],
            "study_instance_uid": answer["listed"][0]["study_instance_uid"],
            "destinations": ["contouring"],
        }
    ]
    del answer["listed"]
    assert answer == {
        "routing_version": version,
        "series": 1,
        "deliveries": 1,
        "undecided": 0,
        "ended_by": "all",
        "rules": {"ct": 1, "mr": 0},
        "destinations": {"contouring": 1},
    }
    assert admin.get(BATCHES).json()["items"] == []


def test_a_batch_is_kept_shown_and_cancelled(api, admin, archive):
    version = put(admin, OF_CT, OF_MR)
    answer = admin.post(BATCHES, json={"rules": ["mr"]})
    made = answer.json()
    assert answer.headers["Location"] == f"{BATCHES}/{made['id']}"
    assert (made["state"], made["routing_version"], made["rules"]) == ("running", version, ["mr"])
    [row] = api.rows("SELECT until, (SELECT max(id) FROM series) AS last FROM routing_batches")
    assert row["until"] == row["last"]
    perform(api, text('UPDATE routing_batches SET criteria = \'{"colour": "red"}\''))
    later = admin.get(f"{BATCHES}/{made['id']}").json()
    assert later["error"] == "this release cannot read the criteria of the batch"
    second = admin.post(BATCHES, json={}).json()
    page = admin.get(BATCHES, params={"limit": 1}).json()
    assert [one["id"] for one in page["items"]] == [second["id"]]
    page = admin.get(BATCHES, params={"cursor": page["next_cursor"]}).json()
    assert [one["id"] for one in page["items"]] == [made["id"]]
    assert admin.post(f"{BATCHES}/{made['id']}/cancel").json()["state"] == "cancelled"
    assert admin.post(f"{BATCHES}/{made['id']}/cancel").status_code == 409
    assert admin.get(f"{BATCHES}/{made['id']}").json()["finished_at"]
    gone = f"{BATCHES}/00000000-0000-4000-8000-000000000001"
    assert (admin.get(gone).status_code, admin.post(f"{gone}/cancel").status_code) == (404, 404)
    assert [name for _, name, _ in api.actions()][-3:] == [
        "routing.batch",
        "routing.batch",
        "routing.batch_cancel",
    ]


def test_a_batch_applies_only_rules_that_it_can(admin):
    assert admin.post(BATCHES, json={}).status_code == 409
    put(
        admin,
        OF_CT,
        OF_CT | {"name": "off", "active": False},
        OF_CT | {"name": "each", "trigger": "instance"},
    )
    named = ["ct", "off", "each", "unknown"]
    words = "is no active rule for complete series in force"
    assert fields(admin.post(BATCHES, json={"rules": named})) == {
        "rules.1": words,
        "rules.2": words,
        "rules.3": words,
    }
    moments = {"received_from": "2026-11-30T10:00:00Z", "received_to": "2026-11-30T09:00:00Z"}
    answer = admin.post(BATCHES, json={"criteria": moments})
    assert "received_to must be later than received_from" in str(fields(answer))
    nul = {"modality": "\0"}
    assert "criteria.modality" in fields(admin.post(BATCHES, json={"criteria": nul}))
    zoneless = {"received_from": "2026-11-30T10:00:00"}
    assert "criteria.received_from" in fields(admin.post(BATCHES, json={"criteria": zoneless}))
    foreign = admin.get(BATCHES, params={"cursor": "WyJ4IiwgInkiXQ"})
    assert fields(foreign) == {"cursor": "this cursor does not belong to this list"}


def test_only_administrators_replay_and_apply(api):
    operator = api.of_role(Role.OPERATOR)
    assert operator.post(REPLAY, json={}).status_code == 403
    assert operator.post(BATCHES, json={"preview": True}).status_code == 403
    assert operator.get(BATCHES).status_code == 200
