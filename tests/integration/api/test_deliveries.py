"""Deliveries over REST: lists, retry and giving up, with the worker's planner on the same rows.

What is sent is in tests/faults/test_deliveries.py; destinations are in test_destinations.py.
"""

import json

import pytest

from support.planned_deliveries import PlannedDeliveries

pytestmark = pytest.mark.integration

DELIVERIES = "/api/v1/deliveries"
ARCHIVE = {"kind": "folder", "name": "archive", "path": "/var/lib/handlers/archive"}
DESK = {"kind": "folder", "name": "desk", "path": "/var/lib/handlers/desk"}


@pytest.fixture
def made(api):
    made = PlannedDeliveries(api.database)
    made.put(ARCHIVE | {"give_up_after_days": 3}, DESK)
    return made


@pytest.fixture
def operator(api):
    return api.of_role("operator")


def ids(client, **asked):
    answer = client.get(DELIVERIES, params=asked)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


def refusal(answer):
    assert answer.status_code == 409, answer.text
    return answer.json()["detail"]


def test_deliveries_are_listed_by_what_is_asked_for(made, operator):
    first = made.deliver("archive", state="delivered", study="1.2.9")
    second = made.deliver("archive", state="failed", study="1.2.3")
    third = made.deliver("desk", series="1.2.3.3", study="1.2.3")
    fourth = made.deliver("archive", study="1.2.3")
    assert ids(operator) == [fourth, third, second, first]
    assert ids(operator, oldest_first=True) == [first, second, third, fourth]
    assert ids(operator, destination="archive") == [fourth, second, first]
    assert ids(operator, state="failed") == [second]
    assert ids(operator, finished=True) == [second, first]
    assert ids(operator, finished=False, destination="archive") == [fourth]
    assert ids(operator, finished=True, state="pending") == []
    assert ids(operator, study_instance_uid="1.2.9") == [first]
    assert ids(operator, study_instance_uid="1.2.3", destination="archive") == [fourth, second]
    assert ids(operator, series_instance_uid="1.2.3.3") == [third]
    assert ids(operator, series_instance_uid="1.2.3.3", study_instance_uid="1.2.9") == []
    for asked in ({}, {"destination": "archive"}, {"study_instance_uid": "1.2.3"}):
        for oldest_first in (True, False):
            whole = ids(operator, oldest_first=oldest_first, **asked)
            page = {"limit": 1, "oldest_first": oldest_first} | asked
            seen = []
            while page is not None:
                found = operator.get(DELIVERIES, params=page).json()
                seen += [one["id"] for one in found["items"]]
                page = page | {"cursor": found["next_cursor"]} if found["next_cursor"] else None
            assert seen == whole
    assert operator.get(DELIVERIES, params={"state": "lost"}).status_code == 422
    assert operator.get(DELIVERIES, params={"destination": "x" * 101}).status_code == 422


def test_a_delivery_says_where_it_stands(made, operator):
    one = made.deliver("archive", state="partial", error="refused", delivered=1)
    made.execute(
        "INSERT INTO delivered_objects (endpoint, sop_instance_uid, content_sha256, delivery_id)"
        " VALUES ('A@b:104', '1.2.3.1.1', 'x', :id), ('/a/folder', '1.2.3.1.1', 'x', :id)",
        id=one,
    )
    found = operator.get(f"{DELIVERIES}/{one}").json()
    assert (found["rules"], found["routing_version"], found["sequence"]) == (["a rule"], 1, None)
    assert (found["instances"], found["delivered"], found["error"]) == (2, 1, "refused")
    assert [o["endpoint"] for o in found["objects"]] == ["A@b:104"]
    assert operator.get(f"{DELIVERIES}/999999").status_code == 404


def test_a_delivery_to_a_member_of_all_names_the_rule_that_sends_to_the_group(made, operator):
    group = {"kind": "group", "name": "both", "mode": "all", "members": ["archive", "desk"]}
    chain = {"kind": "group", "name": "chain", "mode": "failover", "members": ["desk"]}
    rules = [
        {"name": "a rule", "destinations": ["both"]},
        {"name": "another", "destinations": ["chain", "archive"]},
    ]
    document = {"rules": rules, "destinations": [ARCHIVE, DESK, group, chain]}
    made.execute(
        "UPDATE routing_documents SET document = CAST(:document AS jsonb)",
        document=json.dumps(document),
    )
    for name, named in (("desk", ["a rule"]), ("archive", ["a rule", "another"])):
        one = made.deliver(name)
        assert operator.get(f"{DELIVERIES}/{one}").json()["rules"] == named


def test_what_has_failed_is_sent_once_more_with_a_new_limit(api, made, operator):
    one = made.deliver("archive", state="failed", error="given up")
    made.execute("UPDATE deliveries SET give_up_at = now() - interval '1 day'")
    answer = operator.post(f"{DELIVERIES}/{one}/retry")
    assert (answer.status_code, answer.json()["state"]) == (200, "pending")
    assert api.actions()[-1] == ("operator", "delivery.retry", f"delivery {one} to archive")
    days = made.value("SELECT extract(epoch FROM give_up_at - now()) / 86400 FROM deliveries")
    assert 2.9 < days < 3.1
    assert made.plan() == 1
    assert made.with_job(one)["state"] == "running"
    assert refusal(operator.post(f"{DELIVERIES}/{one}/retry")) == "It is under way."
    made.end_job(one, "complete", expected=2, delivered=2)
    made.plan()
    assert made.with_job(one)["state"] == "delivered"
    assert "nothing is missing" in refusal(operator.post(f"{DELIVERIES}/{one}/retry"))


def test_what_waits_is_tried_now(made, operator):
    one = made.deliver("archive")
    made.plan()
    made.fail_tries(one, 1)
    made.plan()
    assert (made.with_job(one)["state"], made.with_job(one)["job_state"]) == ("waiting", "waiting")
    answer = operator.post(f"{DELIVERIES}/{one}/retry")
    assert (answer.status_code, answer.json()["next_try_at"]) == (200, None)
    assert made.with_job(one)["job_state"] == "queued"


def test_a_destination_that_rests_is_tried_at_once_when_somebody_asks(made, operator):
    one = made.deliver("archive")
    made.execute(
        "INSERT INTO destination_states (name, failures, last_attempt_at, last_error_at)"
        " VALUES ('archive', 9, now(), now())"
    )
    assert made.plan() == 0
    operator.post(f"{DELIVERIES}/{one}/retry").raise_for_status()
    assert made.plan() == 1


def test_what_is_given_up_ends_with_its_job(api, made, operator):
    one, other = made.deliver("archive"), made.deliver("archive", delivered=1)
    made.plan()
    answer = operator.post(f"{DELIVERIES}/{one}/give-up")
    assert (answer.status_code, answer.json()["state"]) == (200, "failed")
    assert answer.json()["error"] == "given up by operator"
    assert made.with_job(one)["job_state"] == "cancelled"
    assert api.actions()[-1] == ("operator", "delivery.give-up", f"delivery {one} to archive")
    assert refusal(operator.post(f"{DELIVERIES}/{one}/give-up")) == "It is over already."
    made.execute("UPDATE jobs SET state = 'running' WHERE state = 'queued'")
    answer = operator.post(f"{DELIVERIES}/{other}/give-up")
    assert answer.json()["state"] == "partial"
    assert made.with_job(other)["cancel_requested"]
    assert "job has not ended" in refusal(operator.post(f"{DELIVERIES}/{other}/retry"))
    made.plan()
    assert {made.with_job(one)["state"], made.with_job(other)["state"]} == {"failed", "partial"}


def test_who_gives_up_several_that_share_a_job_gives_up_each(made, operator):
    made.add_node("pacs")
    made.put({"kind": "node", "name": "pacs", "remote_node": "pacs"})
    one, other, rest = (made.deliver("pacs", "1.2.3", sop=f"1.2.3.{n}") for n in range(3))
    made.plan()
    assert len({made.delivery(number)["job_id"] for number in (one, other, rest)}) == 1
    # It had been sent when somebody looked, though its row says so only at the end of the job.
    made.execute(
        "INSERT INTO delivered_objects (endpoint, sop_instance_uid, content_sha256, delivery_id)"
        " VALUES ('A@b:104', '1.2.3.1', 'x', :id)",
        id=other,
    )
    answer = operator.post(f"{DELIVERIES}/give-up", json={"ids": [one, other]}).json()
    assert (answer["done"], answer["refused"]) == ([one, other], [])
    made.plan()
    states = [made.delivery(number)["state"] for number in (one, other, rest)]
    assert states == ["failed", "partial", "running"]


def test_a_job_that_has_just_ended_decides_itself(made, operator):
    one = made.deliver("archive")
    made.plan()
    made.end_job(one, "complete", expected=2, delivered=2)
    assert "just ended" in refusal(operator.post(f"{DELIVERIES}/{one}/give-up"))
    made.plan()
    assert made.with_job(one)["state"] == "delivered"


def test_a_webhook_that_waits_is_told_now_or_no_more(made, operator):
    made.put({"kind": "webhook", "name": "hook", "webhook_id": 1})
    made.execute(
        "INSERT INTO webhooks (url, secret, kinds, created_by) VALUES ('http://x.example/', 's',"
        " '{study.stable}', 'admin')"
    )
    one = made.deliver("hook")
    made.plan()
    made.execute(
        "UPDATE webhook_deliveries SET attempts = 2, last_error = 'HTTP 503',"
        " next_attempt_at = now() + '1 hour'"
    )
    made.plan()
    assert made.with_job(one)["state"] == "waiting"
    operator.post(f"{DELIVERIES}/{one}/retry").raise_for_status()
    assert made.value("SELECT next_attempt_at <= now() FROM webhook_deliveries")
    operator.post(f"{DELIVERIES}/{one}/give-up").raise_for_status()
    assert made.value("SELECT state FROM webhook_deliveries") == "dead"
    made.plan()
    assert made.with_job(one)["state"] == "failed"
    operator.post(f"{DELIVERIES}/{one}/retry").raise_for_status()
    made.plan()
    assert made.value("SELECT state FROM webhook_deliveries") == "pending"


@pytest.mark.parametrize("state", ["delivered", "superseded"])
def test_what_is_over_for_good_is_refused_in_words(made, operator, state):
    one = made.deliver("archive", state=state)
    for action in ("retry", "give-up"):
        assert refusal(operator.post(f"{DELIVERIES}/{one}/{action}"))
    assert made.with_job(one)["state"] == state


def test_a_destination_that_is_gone_or_held_is_not_tried(made, operator):
    gone, held = made.deliver("removed", state="failed"), made.deliver("archive", state="failed")
    assert "no such destination" in refusal(operator.post(f"{DELIVERIES}/{gone}/retry"))
    operator.post("/api/v1/destinations/archive/pause").raise_for_status()
    assert "paused" in refusal(operator.post(f"{DELIVERIES}/{held}/retry"))
    operator.post("/api/v1/destinations/archive/drain").raise_for_status()
    later = made.deliver("archive", state="failed")
    assert "draining" in refusal(operator.post(f"{DELIVERIES}/{later}/retry"))
    assert operator.post(f"{DELIVERIES}/{held}/retry").status_code == 200


def test_several_are_retried_and_given_up_by_number_or_criteria(api, made, operator):
    failed = [made.deliver("archive", state="failed") for _ in range(3)]
    other, over = made.deliver("desk", state="failed"), made.deliver("archive", state="delivered")
    by_number = {"ids": [failed[0], over, 999999]}
    answer = operator.post(f"{DELIVERIES}/retry", json=by_number).json()
    assert answer["done"] == [failed[0]]
    assert {one["id"] for one in answer["refused"]} == {over, 999999}
    assert answer["more"] is False
    answer = operator.post(f"{DELIVERIES}/retry", json={"destination": "archive"}).json()
    assert answer["done"] == failed
    assert len([one for one in api.actions() if one[1] == "delivery.retry"]) == 4
    wanted = {"destination": "archive", "state": "pending"}
    answer = operator.post(f"{DELIVERIES}/give-up", json=wanted).json()
    assert answer["done"] == failed
    assert ids(operator, state="failed") == [other, *reversed(failed)]
    for wrong in ({}, {"ids": failed, "state": "failed"}, {"state": "delivered"}, {"ids": [0]}):
        assert operator.post(f"{DELIVERIES}/retry", json=wrong).status_code == 422
    assert operator.post(f"{DELIVERIES}/retry", json={"ids": [1] * 501}).status_code == 422


def test_a_viewer_sees_and_does_not_steer(api, made):
    viewer = api.of_role("viewer")
    one = made.deliver("archive", state="failed")
    assert ids(viewer) == [one]
    assert viewer.post(f"{DELIVERIES}/{one}/retry").status_code == 403
    assert viewer.post("/api/v1/destinations/archive/pause").status_code == 403
    assert made.with_job(one)["state"] == "failed"
