"""The planner of deliveries on real rows, whose jobs the test ends itself.

Not covered: what the jobs do, and the processes (tests/faults/test_deliveries.py).
"""

import pytest

from draw_qr_worker.adapters.delivery_queries import PostgresDeliveryTurn
from draw_shared.db import session
from draw_shared.errors import Transient
from support.planned_deliveries import PlannedDeliveries
from support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def planned(database):
    return PlannedDeliveries(database)


def folder(name, **more):
    return {"kind": "folder", "name": name, "path": f"/var/lib/{name}", **more}


def node(name, remote_node=None):
    return {"kind": "node", "name": name, "remote_node": remote_node or name}


GROUP = {
    "kind": "group",
    "name": "group",
    "mode": "failover",
    "members": ["a", "b"],
    "after_failures": 2,
}


def test_ends_are_counted_once_they_are_kept(planned, monkeypatch):
    planned.put(folder("a"))
    number = planned.deliver("a")
    planned.plan()
    planned.end_job(number, "failed", "no room")

    end = PostgresDeliveryTurn.end

    def end_and_lose_the_database(*given):
        end(*given)
        raise Transient("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(PostgresDeliveryTurn, "end", end_and_lose_the_database)
        with pytest.raises(Transient):
            planned.plan()
    assert planned.ends == []
    planned.plan()
    assert planned.ends == [("a", "failed")]
    planned.plan()
    assert planned.ends == [("a", "failed")]
    assert planned.delivery(number)["error"] == "no room"


def test_what_a_later_generation_supersedes_is_counted(planned):
    planned.put(folder("a"))
    planned.hold("a", "paused")
    first = planned.deliver("a", series="1.2.3")
    planned.deliver("a", series="1.2.3")
    planned.plan()
    assert planned.ends == [("a", "superseded")]
    assert planned.delivery(first)["state"] == "superseded"


def test_a_group_stays_with_the_second_while_the_first_is_only_tried(planned):
    planned.put(folder("a"), folder("b"), GROUP)
    number = planned.deliver("group")
    planned.plan()
    assert planned.state("group")["in_force"] == "a"
    planned.fail_tries(number, 2)
    # Leaves the first, and begins with the second once its job there has ended.
    planned.plan()
    planned.end_job(number, "cancelled")
    planned.plan()
    planned.plan()
    assert planned.delivery(number)["target"] == "b"
    assert planned.state("group")["in_force"] == "b"
    planned.execute(
        "UPDATE destination_states SET last_error_at = now() - interval '1 minute',"
        " last_attempt_at = now() - interval '1 minute' WHERE name = 'a'"
    )
    tried = planned.deliver("group")
    planned.plan()
    assert planned.delivery(tried)["target"] == "a"
    assert planned.state("group")["in_force"] == "b"
    planned.end_job(tried, "complete")
    planned.plan()
    following = planned.deliver("group")
    planned.plan()
    assert planned.delivery(following)["target"] == "a"
    assert planned.state("group")["in_force"] == "a"


def test_the_names_of_destinations_are_those_of_the_rules_in_force(planned):
    assert planned.ledger.destinations() == []
    planned.put(folder("a"))
    planned.put(folder("b"), folder("c"))
    assert planned.ledger.destinations() == ["b", "c"]


def test_a_destination_that_drains_sends_what_was_decided_before_and_then_nothing(planned):
    planned.put(folder("a"))
    before = planned.deliver("a", age_seconds=60)
    planned.hold("a", "draining", 30)
    after = planned.deliver("a")
    planned.plan()
    assert planned.delivery(before)["state"] == "running"
    planned.end_job(before, "complete")
    planned.plan()
    states = [planned.delivery(number)["state"] for number in (before, after)]
    assert states == ["delivered", "pending"]
    planned.hold("a", "active")
    planned.plan()
    assert planned.delivery(after)["state"] == "running"


def test_a_group_that_drains_and_members_that_do(planned):
    planned.put(folder("a"), folder("b"), GROUP)
    planned.hold("a", "draining", 30)
    before, after = planned.deliver("group", age_seconds=60), planned.deliver("group")
    planned.plan()
    assert [planned.delivery(number)["target"] for number in (before, after)] == ["a", "b"]
    planned.hold("group", "draining", 30)
    later = planned.deliver("group")
    planned.plan()
    assert planned.delivery(later)["state"] == "pending"


def test_a_paused_destination_takes_its_waiting_deliveries_up_again_when_it_is_resumed(planned):
    planned.put(folder("a"))
    number = planned.deliver("a")
    planned.plan()
    planned.fail_tries(number, 1)
    planned.hold("a", "paused")
    planned.plan()
    cancelled = "SELECT cancel_requested FROM jobs WHERE kind = 'deliver'"
    assert planned.execute(cancelled) == [{"cancel_requested": True}]
    planned.end_job(number, "cancelled")
    planned.plan()
    assert planned.delivery(number)["state"] == "pending"
    assert planned.plan() == 0
    planned.hold("a", "active")
    assert planned.plan() == 1
    assert planned.delivery(number)["state"] == "running"


def test_a_destination_that_leaves_the_rules_ends_its_deliveries_also_those_with_a_job(planned):
    planned.put(folder("a"), folder("b"))
    waiting, stays = planned.deliver("a"), planned.deliver("b")
    planned.plan()
    planned.fail_tries(waiting, 1)
    pending = planned.deliver("a")
    planned.put(folder("b"))
    planned.plan()
    planned.end_job(waiting, "cancelled")
    for _ in range(2):
        planned.plan()
    for number in (waiting, pending):
        ended = planned.delivery(number)
        assert (ended["state"], ended["error"]) == (
            "failed",
            "the rules have no such destination any more",
        )
    assert planned.delivery(stays)["finished_at"] is None
    assert sorted(planned.ends) == [("a", "failed")] * 2


def test_what_has_arrived_is_delivered_also_if_a_later_generation_is_there(planned):
    planned.put(folder("a"))
    first = planned.deliver("a", series="1.2.3")
    planned.plan()
    planned.end_job(first, "complete")
    second = planned.deliver("a", series="1.2.3")
    planned.plan()
    states = [planned.delivery(number)["state"] for number in (first, second)]
    assert states == ["delivered", "running"]


OPEN = """
    WITH person AS (INSERT INTO patients (patient_id) VALUES ('P') RETURNING id),
    study AS (INSERT INTO studies (study_instance_uid, patient_pk) SELECT '1.2', id FROM person
        RETURNING id)
    INSERT INTO series (series_instance_uid, study_pk) SELECT '1.2.3', id FROM study
"""


def test_what_grows_again_is_not_begun_before_it_is_complete(planned):
    planned.put(folder("a"))
    planned.execute(OPEN)
    held = [planned.deliver("a", series=uid, study="1.2") for uid in ("1.2.3", "")]
    planned.deliver("a", series="1.2.3", study="1.2", sop="1.2.3.4")
    assert planned.plan() == 1
    assert [planned.delivery(number)["state"] for number in held] == ["pending"] * 2
    for table in ("series", "studies"):
        planned.execute(f"UPDATE {table} SET stable_at = now()")  # noqa: S608
    planned.execute("UPDATE jobs SET state = 'complete', finished_at = now()")
    assert planned.plan() == 1
    assert planned.delivery(held[0])["state"] == "running"


def test_rules_of_a_later_release_have_deliveries_wait(planned):
    planned.put(folder("a"))
    number = planned.deliver("a")
    planned.execute('UPDATE routing_documents SET document = document || \'{"colour": "red"}\'')
    for action in (planned.plan, planned.ledger.destinations):
        # Said once until it is over, not with each turn.
        with pytest.raises(Transient, match="version 1 of the rules cannot be read"):
            action()
    assert planned.delivery(number)["state"] == "pending"
    planned.put(folder("a"))
    assert planned.plan() == 1


def test_objects_that_are_refused_neither_rest_a_destination_nor_hold_up_others(planned):
    planned.put(folder("a"))
    bad = planned.deliver("a", age_seconds=60)
    planned.plan()
    for refused in range(1, 8):
        planned.execute("DELETE FROM job_attempts")
        planned.fail_tries(bad, refused, "refused")
        planned.plan()
    state = planned.state("a")
    assert (state["failures"], state["last_success_at"]) == (0, None)
    # All of its tries are seen, but none counts against the destination.
    assert (planned.delivery(bad)["attempts"], planned.delivery(bad)["failures"]) == (7, 0)
    good = planned.deliver("a")
    assert planned.plan() == 1
    assert planned.delivery(good)["state"] == "running"


def test_a_destination_that_rests_works_again_when_it_refuses_an_object(planned):
    planned.put(folder("a"))
    bad, other = planned.deliver("a", age_seconds=60), planned.deliver("a", age_seconds=30)
    planned.plan()
    for number in (bad, other):
        planned.fail_tries(number, 3)
    planned.plan()
    assert planned.state("a")["failures"] == 6
    planned.execute("UPDATE job_attempts SET outcome = 'refused' WHERE number = 3")
    planned.execute("UPDATE deliveries SET attempts = 2, failures = 2")
    planned.plan()
    assert planned.state("a")["failures"] == 0
    assert planned.with_job(other)["job_state"] == "queued"


def test_a_delivery_that_fails_by_itself_lets_another_try_a_destination_that_rests(planned):
    planned.put(folder("a"))
    bad, other = planned.deliver("a", age_seconds=60), planned.deliver("a", age_seconds=30)
    planned.plan()
    planned.fail_tries(bad, 5)
    planned.fail_tries(other, 1)
    planned.plan()
    planned.execute("UPDATE destination_states SET last_attempt_at = now() - interval '1 minute'")
    planned.plan()
    states = [planned.with_job(number)["job_state"] for number in (bad, other)]
    assert states == ["waiting", "queued"]


@pytest.mark.parametrize("first", ["missing", "paused", "inactive", "no webhook"])
def test_a_group_passes_over_a_member_that_can_take_nothing(planned, first):
    if first in {"paused", "inactive"}:
        planned.add_node("away", paused=first == "paused", active=first != "inactive")
    told = {"kind": "webhook", "name": "a", "webhook_id": 77}
    planned.put(told if first == "no webhook" else node("a", "away"), folder("b"), GROUP)
    number = planned.deliver("group")
    assert planned.plan() == 1
    assert planned.delivery(number)["target"] == "b"


def test_what_queues_for_a_member_goes_on_when_its_node_is_paused(planned):
    planned.add_node("away")
    planned.put(node("a", "away"), folder("b"), GROUP)
    number = planned.deliver("group")
    planned.plan()
    assert planned.delivery(number)["target"] == "a"
    planned.execute("UPDATE remote_nodes SET paused = true")
    planned.plan()
    planned.end_job(number, "cancelled")
    planned.plan()
    planned.plan()
    assert planned.delivery(number)["target"] == "b"
    assert planned.state("a")["failures"] == 0


def test_a_group_of_which_no_member_can_take_anything_says_so(planned):
    planned.put(node("a"), node("b"), GROUP)
    number = planned.deliver("group")
    assert planned.plan() == 0
    delivery = planned.delivery(number)
    assert (delivery["state"], delivery["error"]) == ("pending", "there is no such remote node")


def test_a_corrected_destination_gets_what_waits_for_the_old_one(planned):
    planned.put(folder("a"))
    number = planned.deliver("a")
    planned.plan()
    planned.fail_tries(number, 6)
    planned.plan()
    assert planned.state("a")["failures"] == 6
    planned.put(folder("a") | {"path": "/var/lib/corrected"})
    planned.plan()
    assert planned.with_job(number)["cancel_requested"]
    planned.end_job(number, "cancelled")
    planned.plan()
    planned.plan()
    assert planned.state("a")["failures"] == 0
    path = "SELECT parameters->'target'->>'path' FROM jobs WHERE state = 'queued'"
    assert planned.value(path) == "/var/lib/corrected"


def test_what_arrived_at_the_old_address_goes_to_the_corrected_one(planned):
    planned.put(node("a", "old"))
    planned.add_node("old")
    number = planned.deliver("a")
    planned.plan()
    planned.put(folder("a"))
    planned.plan()
    planned.end_job(number, "complete")
    planned.plan()
    assert planned.ends == []
    planned.plan()
    assert planned.value("SELECT parameters->'target'->>'kind' FROM jobs WHERE state = 'queued'")


def test_another_deadline_is_no_other_destination(planned):
    planned.put(folder("a"))
    number = planned.deliver("a")
    planned.plan()
    planned.put(folder("a", give_up_after_days=30))
    planned.plan()
    assert not planned.with_job(number)["cancel_requested"]


def test_a_member_that_leaves_its_group_gets_nothing_more_of_it(planned):
    planned.put(folder("a"), folder("b"), GROUP)
    number = planned.deliver("group")
    planned.plan()
    planned.put(folder("a"), folder("b"), GROUP | {"members": ["b"]})
    planned.plan()
    assert planned.with_job(number)["cancel_requested"]


def test_a_job_hangs_from_when_it_runs_not_from_when_it_was_made(planned):
    planned.put(folder("a"), folder("b"), GROUP | {"after_seconds": 20})
    runs, queues = planned.deliver("group", age_seconds=60), planned.deliver("group")
    planned.plan()
    planned.execute("UPDATE deliveries SET target_since = now() - interval '1 hour'")
    planned.run(runs, 10)
    planned.plan()
    assert {planned.delivery(number)["target"] for number in (runs, queues)} == {"a"}
    planned.execute("UPDATE job_attempts SET started_at = now() - interval '21 seconds'")
    planned.plan()
    assert planned.delivery(runs)["target"] == ""
    assert planned.state("a")["last_error"] == "nothing arrived for 20 seconds"


def test_what_arrives_while_it_is_being_left_names_where(planned):
    planned.put(folder("a"), folder("b"), GROUP | {"after_seconds": 20})
    number = planned.deliver("group")
    planned.plan()
    planned.run(number, 21)
    planned.plan()
    planned.end_job(number, "complete")
    planned.plan()
    delivery = planned.delivery(number)
    assert (delivery["state"], delivery["target"]) == ("delivered", "a")


def begun(planned, *numbers):
    return [planned.delivery(number)["state"] != "pending" for number in numbers]


@pytest.mark.parametrize("ended", ["complete", "cancelled"])
def test_two_destinations_of_one_address_get_a_series_one_after_another(planned, ended):
    planned.add_node("pacs")
    planned.add_node("same")
    planned.add_node("other", port=105)
    planned.put(node("a", "pacs"), node("b", "same"), node("c", "other"))
    first, second, elsewhere = (planned.deliver(name, "1.2.3") for name in "abc")
    for _ in range(2):
        planned.plan()
        assert begun(planned, first, second, elsewhere) == [True, False, True]
    planned.end_job(first, ended)
    planned.plan()
    assert begun(planned, second) == [True]


def test_a_member_of_a_group_and_the_group_get_a_series_one_after_another(planned):
    planned.add_node("pacs")
    planned.put(node("a", "pacs"), folder("b"), GROUP)
    first, second = planned.deliver("group", "1.2.3"), planned.deliver("a", "1.2.3")
    for _ in range(2):
        planned.plan()
        assert begun(planned, first, second) == [True, False]
    planned.end_job(first, "complete")
    planned.plan()
    third = planned.deliver("group", "1.2.3")
    planned.plan()
    assert begun(planned, second, third) == [True, False]


def test_a_study_and_its_series_begin_one_after_another_also_in_one_turn(planned):
    planned.put(folder("a"))
    series = planned.deliver("a", "1.2.3", study="1.2")
    study = planned.deliver("a", "", study="1.2")
    instance = planned.deliver("a", "1.2.3", study="1.2", sop="1.2.3.1")
    planned.plan()
    assert begun(planned, series, study, instance) == [True, False, False]


def test_instances_of_a_series_go_to_a_node_side_by_side_and_into_a_folder_do_not(planned):
    planned.add_node("pacs")
    planned.put(node("a", "pacs"), folder("b"))
    for name, together in (("a", True), ("b", False)):
        first, second, again = (planned.deliver(name, "1.2.3", sop=f"1.2.3.{n}") for n in (1, 2, 1))
        later = planned.deliver(name, "1.2.3")
        for _ in range(2):
            planned.plan()
            assert begun(planned, first, second, again, later) == [True, together, False, False]


def test_what_waits_for_a_shared_address_holds_up_no_other_series(planned):
    planned.add_node("pacs")
    planned.put(node("a", "pacs"), node("b", "pacs"))
    planned.deliver("a", "1.2.3", study="1.2")
    planned.plan()
    for number in range(30):
        planned.deliver("b", "1.2.3", study="1.2", sop=f"1.2.3.{number}", age_seconds=60)
    other = planned.deliver("b")
    planned.plan()
    assert begun(planned, other) == [True]


def test_a_series_that_waits_at_a_member_under_another_name_goes_to_the_next(planned):
    planned.add_node("pacs")
    planned.put(node("leaf", "pacs"), node("a", "pacs"), folder("b"), GROUP)
    leaf, grouped = planned.deliver("leaf", "1.2.3"), planned.deliver("group", "1.2.3")
    planned.plan()
    assert begun(planned, leaf, grouped) == [True, False]
    planned.fail_tries(leaf, 1)
    planned.plan()
    assert planned.delivery(grouped)["target"] == "b"


@pytest.mark.parametrize("series", ["1.2.3", "1.2.4"], ids=["the same", "another"])
def test_a_group_passes_over_a_member_at_which_another_destination_hangs(planned, series):
    for name, port in (("pacs", 104), ("second", 105)):
        planned.add_node(name, port)
    members = [node("a", "pacs"), node("b", "second")]
    planned.put(node("direct", "pacs"), *members, {**GROUP, "after_seconds": 20})
    direct = planned.deliver("direct", series="1.2.3")
    planned.plan()
    planned.run(direct, 10)
    queued = planned.deliver("group", series="1.2.9")
    planned.plan()
    assert planned.delivery(queued)["target"] == "a"
    planned.execute("UPDATE job_attempts SET started_at = started_at - interval '11 seconds'")
    number = planned.deliver("group", series=series)
    planned.plan()
    assert planned.delivery(number)["target"] == "b"
    assert planned.with_job(queued)["cancel_requested"]
    assert planned.state("group")["in_force"] == "b"
    # Something arrives: it is slow, and not down.
    planned.show(direct, arrived=1)
    later = planned.deliver("group", series="1.2.5")
    planned.plan()
    assert planned.delivery(later)["target"] == "a"


def test_a_planner_that_hangs_loses_its_turn_to_another(planned, monkeypatch):
    monkeypatch.setattr(session, "MAX_IDLE_SECONDS", 0.5)
    planned.put(folder("a"))
    number = planned.deliver("a")

    def hang():
        with planned.ledger.turn() as turn:
            assert planned.plan() == 0
            assert wait_until(lambda: planned.plan() == 1, 30)
            turn.now()

    with pytest.raises(Transient):
        hang()
    assert planned.delivery(number)["state"] == "running"


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda planned, number: planned.end_job(number, "cancelled"), "its job was cancelled"),
        (
            lambda planned, _: planned.execute("UPDATE deliveries SET give_up_at = now()"),
            "away",
        ),
        (lambda planned, _: planned.put(folder("b")), "no such destination"),
    ],
    ids=["cancelled", "in time", "removed"],
)
def test_what_ends_after_some_of_it_has_arrived_is_partial(planned, end, error):
    planned.add_node("pacs")
    planned.put(node("a", "pacs"))
    number = planned.deliver("a")
    planned.plan()
    planned.show(number, arrived=1)
    planned.fail_tries(number, 1)
    planned.plan()
    end(planned, number)
    planned.plan()
    if planned.delivery(number)["finished_at"] is None:
        planned.end_job(number, "cancelled")
        planned.plan()
    planned.plan()
    row = planned.delivery(number)
    assert (row["state"], row["delivered_count"]) == ("partial", 1)
    assert error in row["error"]
