"""Deliveries of SOP instances that share a job, as the planner makes, follows and ends it.

What the job does is in tests/unit/qr_worker/test_delivering_to_nodes.py.
"""

import pytest

from support.planned_deliveries import PlannedDeliveries

pytestmark = pytest.mark.integration

SERIES = "1.2.3"
A = {"kind": "node", "name": "a", "remote_node": "pacs"}
SAME_ADDRESS = {"kind": "node", "name": "same", "remote_node": "pacs"}
SECOND = {"kind": "node", "name": "second", "remote_node": "second"}
GROUP = {
    "kind": "group",
    "name": "group",
    "mode": "failover",
    "members": ["a", "second"],
    "after_failures": 2,
}


@pytest.fixture
def planned(database):
    made = PlannedDeliveries(database)
    made.add_node("pacs")
    made.add_node("second", port=105)
    made.put(A, SAME_ADDRESS, SECOND, GROUP)
    return made


def instances(planned, *numbers, to="a", **fields):
    return [planned.deliver(to, SERIES, sop=uid(number), **fields) for number in numbers]


def uid(number):
    return f"{SERIES}.{number}"


def jobs(planned, *numbers):
    return [planned.delivery(number)["job_id"] for number in numbers]


def states(planned, *numbers):
    return [planned.delivery(number)["state"] for number in numbers]


def parameters(planned, number):
    job = planned.delivery(number)["job_id"]
    return planned.value("SELECT parameters FROM jobs WHERE id = :id", id=job)


def test_what_waits_of_a_series_shares_a_job(planned):
    first, second, third = instances(planned, 1, 2, 3)
    [again] = instances(planned, 2)
    other = planned.deliver("a", "1.2.4", sop="1.2.4.1")
    [elsewhere] = instances(planned, 2, to="second")
    assert planned.plan() == 5
    shared = jobs(planned, first, second, third)
    assert len(set(shared)) == 1
    assert len({shared[0], *jobs(planned, other, elsewhere)}) == 3
    assert jobs(planned, again) == [None]
    made = parameters(planned, first)
    assert made["delivery_id"] == first
    assert made["sop_instance_uids"] == [uid(1), uid(2), uid(3)]
    assert made["deliveries"] == [first, second, third]
    due = [planned.delivery(number)["give_up_at"] for number in (first, second, third)]
    assert made["give_up_at"] == min(due).isoformat()
    assert "deliveries" not in parameters(planned, other)


def test_at_most_two_hundred_share_a_job_the_oldest(planned):
    numbers = instances(planned, *range(203))
    planned.plan()
    made = parameters(planned, numbers[0])
    assert made["deliveries"] == numbers[:200]


def test_what_is_on_its_way_to_the_same_address_does_not_share_a_job(planned):
    [under_way] = instances(planned, 2, to="same")
    planned.plan()
    first, second, third = instances(planned, 1, 2, 3)
    planned.plan()
    assert parameters(planned, first)["deliveries"] == [first, third]
    # Also while a job is not over whose delivery somebody has given up.
    planned.execute(
        "UPDATE deliveries SET state = 'failed', finished_at = now() WHERE id = :id", id=under_way
    )
    planned.end_job(first, "complete", expected=2, delivered=2, parts={})
    fourth, fifth = instances(planned, 4, 2, age_seconds=60)
    planned.plan()
    assert jobs(planned, second, fifth) == [None, None]
    assert "deliveries" not in parameters(planned, fourth)


def test_what_may_have_failed_by_itself_or_is_not_due_goes_alone(planned):
    [begun] = instances(planned, 1, age_seconds=60)
    planned.execute("UPDATE deliveries SET started_at = now()")
    first, later, due, second = instances(planned, 2, 3, 4, 5)
    planned.execute(
        "UPDATE deliveries SET next_attempt_at = now() + interval '1 hour' WHERE id = :id", id=later
    )
    planned.execute(
        "UPDATE deliveries SET give_up_at = now() + interval '1 day' WHERE id = :id", id=due
    )
    planned.plan()
    assert "deliveries" not in parameters(planned, begun)
    assert parameters(planned, first)["deliveries"] == [first, second]
    assert jobs(planned, later) == [None]
    assert "deliveries" not in parameters(planned, due)


def test_what_a_destination_that_drains_does_not_take_shares_no_job(planned):
    before = instances(planned, 1, 2, age_seconds=60)
    planned.hold("a", "draining", 30)
    after = instances(planned, 3, 4)
    planned.plan()
    assert parameters(planned, before[0])["deliveries"] == before
    assert states(planned, *after) == ["pending"] * 2


def test_a_target_that_fails_is_tried_with_one(planned):
    instances(planned, 1, 2, 3)
    planned.execute("INSERT INTO destination_states (name, failures) VALUES ('a', 1)")
    assert planned.plan() == 1


def test_each_delivery_of_a_shared_job_is_delivered_and_counts_itself(planned):
    numbers = instances(planned, 1, 2, 3)
    planned.plan()
    planned.run(numbers[0], 1)
    planned.show(numbers[0], arrived=2)
    planned.plan()
    rows = [planned.delivery(number) for number in numbers]
    assert [(row["state"], row["delivered_count"]) for row in rows] == [("running", 0)] * 3
    planned.end_job(numbers[0], "complete", expected=3, delivered=3, parts={})
    planned.plan()
    rows = [planned.delivery(number) for number in numbers]
    assert [(row["state"], row["delivered_count"]) for row in rows] == [("delivered", 1)] * 3
    assert {row["instance_count"] for row in rows} == {2}
    assert planned.ends == [("a", "delivered")] * 3


def test_a_node_that_is_away_has_a_shared_job_wait_as_one(planned):
    numbers = instances(planned, 1, 2, 3)
    planned.plan()
    [job] = {*jobs(planned, *numbers)}
    planned.fail_tries(numbers[0], 2)
    for _ in range(2):
        planned.plan()
    rows = [planned.delivery(number) for number in numbers]
    assert [(r["state"], r["attempts"], r["job_id"]) for r in rows] == [("waiting", 2, job)] * 3
    assert planned.state("a")["failures"] == 2


def test_what_leaves_a_member_of_a_group_together_goes_to_the_next_together(planned):
    numbers = instances(planned, 1, 2, 3, to="group")
    planned.plan()
    planned.fail_tries(numbers[0], 2)
    planned.plan()
    planned.end_job(numbers[0], "cancelled")
    planned.plan()
    planned.plan()
    assert {planned.delivery(number)["target"] for number in numbers} == {"second"}
    assert len({*jobs(planned, *numbers)}) == 1


@pytest.mark.parametrize(
    ("outcome", "told"),
    [("retry", True), ("refused", True), ("refused", False)],
    ids=["broken off", "refused", "refused and an earlier worker"],
)
def test_what_may_be_at_fault_holds_up_none_that_shared_its_job(planned, outcome, told):
    there, refused, behind = numbers = instances(planned, 1, 2, 3)
    planned.plan()
    planned.fail_tries(there, 1, outcome)
    if told:
        planned.show(there, arrived=1, lacking=[uid(2), uid(3)])
    planned.plan()
    assert states(planned, *numbers) == ["delivered" if told else "waiting", "waiting", "waiting"]
    assert planned.with_job(refused)["cancel_requested"]
    assert planned.state("a")["failures"] == 0
    planned.end_job(refused, "cancelled")
    planned.plan()
    for _ in range(2):
        planned.plan()
    assert len({*jobs(planned, refused, behind)} - {None}) == 2
    assert "deliveries" not in parameters(planned, refused)


def test_a_shared_job_that_has_ended_says_what_has_become_of_each(planned):
    numbers = instances(planned, 1, 2, 3, 4)
    planned.plan()
    parts = {
        uid(2): {"state": "complete", "error": "not sent"},
        uid(3): {"state": "failed", "error": "not taken"},
        uid(4): {"state": "failed", "error": "deleted", "gone": True},
    }
    told = {"expected": 3, "delivered": 2, "parts": parts, "again": True}
    planned.end_job(numbers[0], "partial", "2 of 4", **told)
    planned.plan()
    rows = [planned.delivery(number) for number in numbers]
    assert [(row["state"], row["error"], row["delivered_count"]) for row in rows] == [
        ("delivered", "", 1),
        ("delivered", "not sent", 1),
        ("failed", "not taken", 0),
        ("superseded", "deleted", 0),
    ]


@pytest.mark.parametrize(
    ("state", "error", "result", "ended"),
    [
        ("complete", "", {"expected": 2, "delivered": 2}, "delivered"),
        # One of them was deleted, or came from there: they find out which.
        ("complete", "", {"expected": 1, "delivered": 1}, "pending"),
        ("complete", "1 of 2 came from there", {"expected": 2, "delivered": 2}, "pending"),
        ("partial", "away", {"expected": 2, "delivered": 1}, "pending"),
        ("failed", "internal failure", {}, "pending"),
        ("failed", "deleted", {"gone": True}, "superseded"),
    ],
)
def test_a_worker_that_says_nothing_of_each_has_them_begin_one_by_one(
    planned, state, error, result, ended
):
    numbers = instances(planned, 1, 2)
    planned.plan()
    planned.end_job(numbers[0], state, error, **result)
    planned.plan()
    if ended == "pending":
        planned.plan()
        assert len({*jobs(planned, *numbers)} - {None}) == 2
    else:
        assert states(planned, *numbers) == [ended] * 2


def test_who_gives_one_up_gives_up_none_of_the_others(planned):
    numbers = instances(planned, 1, 2, 3)
    planned.plan()
    planned.end_job(numbers[0], "cancelled")
    planned.execute(
        "UPDATE deliveries SET state = 'failed', finished_at = now() WHERE id = :id", id=numbers[0]
    )
    planned.plan()
    planned.plan()
    assert states(planned, *numbers) == ["failed", "running", "running"]
    assert parameters(planned, numbers[1])["deliveries"] == numbers[1:]


def test_one_that_must_leave_takes_none_of_the_others_along(planned):
    stays, leaves = instances(planned, 1, age_seconds=60) + instances(planned, 2)
    planned.plan()
    planned.hold("a", "draining", 30)
    planned.plan()
    assert states(planned, stays, leaves) == ["running", "waiting"]
    planned.end_job(stays, "cancelled")
    planned.plan()
    planned.plan()
    assert states(planned, stays, leaves) == ["running", "pending"]


def test_who_cancels_a_shared_job_ends_all_of_it(planned):
    numbers = instances(planned, 1, 2)
    planned.plan()
    planned.end_job(numbers[0], "cancelled")
    planned.plan()
    rows = [planned.delivery(number) for number in numbers]
    assert {(row["state"], row["error"]) for row in rows} == {("failed", "its job was cancelled")}
