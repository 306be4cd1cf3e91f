"""Where a delivery goes, and when a target that fails is left alone."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from draw_qr_worker.models import Circuit, DestinationState, NodeWindow, RemoteNode
from draw_qr_worker.services.delivery_targets import Targets
from draw_shared.routing.document import RoutingDocument

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
NODE = RemoteNode(1, "a", "A", "192.0.2.17", 104)


def node(name):
    return {"kind": "node", "name": name, "remote_node": name}


def group(mode="failover", **more):
    return {"kind": "group", "name": "group", "mode": mode, "members": ["a", "b"], **more}


def targets(*given, now=NOW, nodes=None, **of_group):
    document = RoutingDocument.read(
        {
            "destinations": [
                *(one for one in given if isinstance(one, dict)),
                node("a"),
                node("b"),
                group(**{"after_failures": 2} | of_group),
            ]
        }
    )
    return Targets(
        {one.name: one for one in document.destinations},
        {one.name: one for one in given if isinstance(one, DestinationState)},
        {"a": NODE, "b": replace(NODE, id=2, name="b")} if nodes is None else nodes,
        {7},
        now,
    )


def failing(name, failures, at=NOW):
    return DestinationState(
        name,
        failures=failures,
        failing_since=at,
        last_attempt_at=at,
        last_error_at=at,
        last_error="refused",
    )


def choose(made, name="group"):
    return made.choose(made.by_name[name], NOW)


@pytest.mark.parametrize(
    ("states", "now", "chosen"),
    [
        ((), NOW, "a"),
        ((failing("a", 1),), NOW, "a"),
        ((failing("a", 2),), NOW, "b"),
        ((failing("a", 2),), LATER, "a"),
        ((failing("a", 2), failing("b", 2)), NOW, None),
        ((DestinationState("a", mode="paused"),), NOW, "b"),
    ],
)
def test_the_first_member_that_is_not_down_is_taken(states, now, chosen):
    assert choose(targets(*states, now=now)) == chosen


def test_a_member_that_is_down_is_tried_by_one_delivery():
    made = targets(failing("a", 2), now=LATER)
    assert choose(made) == "a"
    made.record_begin("a")
    assert choose(made) == "b"


def test_without_back_the_group_stays_with_the_one_in_force():
    held = DestinationState("group", in_force="b")
    assert choose(targets(held, back=False)) == "b"
    assert choose(targets(held)) == "a"
    assert choose(targets(held, failing("b", 2), back=False)) == "a"


def test_any_takes_the_one_with_the_least_to_do():
    made = targets(mode="any")
    made.record_begin("a")
    assert choose(made) == "b"
    made.record_begin("b")
    made.record_begin("b")
    assert choose(made) == "a"


def test_as_many_are_begun_as_the_node_allows_and_one_while_it_fails():
    made = targets()
    for _ in range(4):
        assert choose(made, "a") == "a"
        made.record_begin("a")
    assert choose(made, "a") is None
    made = targets(failing("a", 1))
    assert choose(made, "a") == "a"
    made.record_begin("a")
    assert choose(made, "a") is None


def test_a_target_rests_after_five_failures_until_it_is_tried_again():
    made = targets(failing("a", 4))
    made.record_failures("a", 1, "refused", NOW)
    assert choose(made, "a") is None
    assert made.rests("a")
    assert not made.may_probe("a")
    assert made.state("a").failures == 5
    later = targets(failing("a", 5), now=LATER)
    assert later.may_probe("a")
    assert choose(later, "a") == "a"
    later.record_success("a")
    assert later.well_again == {"a"}
    assert later.changed["a"].failing_since is None


def test_draining_takes_what_was_made_before():
    made = targets(DestinationState("a", mode="draining", mode_since=NOW))
    assert made.is_open("a", NOW - timedelta(seconds=1))
    assert not made.is_open("a", LATER)


def test_what_waits_for_a_resting_target_goes_before_what_is_new():
    made = targets(failing("a", 5), now=LATER)
    made.waited_for["a"] = [3]
    assert choose(made, "a") is None


def test_after_five_tries_something_new_tries_a_target_that_rests():
    made = targets(failing("a", 5), now=LATER)
    made.waited_for["a"] = [5, 5, 9]
    assert choose(made, "a") == "a"
    made.waited_for["a"].append(5)
    assert choose(made, "a") is None


@pytest.mark.parametrize(
    "change",
    [
        {"paused": True},
        {"active": False},
        {"windows": (NodeWindow(frozenset(range(7)), time(20), time(6)),)},
        {"circuit": Circuit(5, LATER)},
    ],
)
def test_a_member_whose_node_may_not_be_used_is_passed_over(change):
    first, second = replace(NODE, **change), replace(NODE, id=2, name="b")
    made = targets(nodes={"a": first, "b": second})
    assert choose(made) == "b"
    # By itself it has its deliveries queue, as all jobs of its node do.
    assert choose(made, "a") == "a"


def test_a_member_without_a_node_or_webhook_is_passed_over():
    assert choose(targets(nodes={"b": NODE})) == "b"
    for number, chosen in ((8, "b"), (7, "told")):
        told = {"kind": "webhook", "name": "told", "webhook_id": number}
        assert choose(targets(told, members=["told", "b"])) == chosen
