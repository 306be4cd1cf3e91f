"""Windows, circuits and parallel limits; how they are stored is an integration test's."""

from datetime import UTC, datetime, time, timedelta

import pytest

from draw_qr_worker.models import Circuit, Congestion, NodeWindow, RemoteNode
from draw_qr_worker.services.node_rules import (
    circuit_after_failure,
    closed_until,
    congestion_after_refusal,
    next_opening,
    relieve_congestion,
    usable_nodes,
    window_is_open,
)

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
NIGHT = NodeWindow(frozenset({0}), time(22), time(6))
OFFICE = NodeWindow(frozenset({0, 1, 2, 3, 4}), time(8), time(17))


def node(**values):
    return RemoteNode(
        **{"id": 1, "name": "pacs", "ae_title": "PACS", "host": "h", "port": 104} | values
    )


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        (MONDAY.replace(hour=21, minute=59), False),
        (MONDAY.replace(hour=22), True),
        (MONDAY + timedelta(days=1, hours=5, minutes=59), True),
        (MONDAY + timedelta(days=1, hours=6), False),
        (MONDAY.replace(hour=5), False),
    ],
)
def test_a_window_past_midnight_belongs_to_the_day_it_begins(moment, is_open):
    assert window_is_open([NIGHT], moment) is is_open


def test_without_windows_a_node_is_always_open():
    assert window_is_open([], MONDAY)
    assert closed_until(node(), MONDAY) is None


def test_the_next_opening_skips_the_weekend():
    friday_evening = MONDAY + timedelta(days=4, hours=18)
    assert next_opening([OFFICE], friday_evening) == MONDAY + timedelta(days=7, hours=8)


def test_the_next_opening_may_be_the_same_day_next_week():
    monday_noon = MONDAY.replace(hour=12)
    early = NodeWindow(frozenset({0}), time(6), time(7))
    assert next_opening([early], monday_noon) == MONDAY + timedelta(days=7, hours=6)


def test_the_fifth_failure_in_a_row_opens_the_circuit_and_later_ones_for_longer():
    circuit = Circuit()
    for _ in range(4):
        circuit = circuit_after_failure(circuit, MONDAY)
    assert circuit.open_until is None
    circuit = circuit_after_failure(circuit, MONDAY)
    assert circuit.open_until == MONDAY + timedelta(seconds=60)
    circuit = circuit_after_failure(circuit, MONDAY)
    assert circuit.open_until == MONDAY + timedelta(seconds=120)
    for _ in range(20):
        circuit = circuit_after_failure(circuit, MONDAY)
    assert circuit.open_until == MONDAY + timedelta(seconds=600)


def test_an_open_circuit_holds_back_work_but_not_tests():
    broken = node(circuit=Circuit(5, MONDAY + timedelta(seconds=1)))
    assert usable_nodes([broken], {}, MONDAY) == ([], [1])


def test_a_circuit_whose_time_is_over_lets_one_job_through():
    healing = node(circuit=Circuit(5, MONDAY), max_associations=4)
    assert usable_nodes([healing], {}, MONDAY) == ([1], [1])
    assert usable_nodes([healing], {1: 1}, MONDAY) == ([], [1])


@pytest.mark.parametrize("held_back", [{"paused": True}, {"active": False}, {"windows": (NIGHT,)}])
def test_pause_inactivity_and_closed_windows_hold_back_work(held_back):
    assert usable_nodes([node(**held_back)], {}, MONDAY) == ([], [1])


def test_a_node_takes_no_more_jobs_than_it_allows():
    assert usable_nodes([node(max_associations=2)], {1: 1}, MONDAY) == ([1], [1])
    assert usable_nodes([node(max_associations=2)], {1: 2}, MONDAY) == ([], [])


def test_a_circuit_that_opens_into_a_closed_window_waits_for_the_window():
    both = node(windows=(NIGHT,), circuit=Circuit(5, MONDAY.replace(hour=10)))
    assert closed_until(both, MONDAY) == MONDAY.replace(hour=22)


def test_each_refusal_among_several_takes_one_place_and_lets_the_others_go_on():
    first = congestion_after_refusal(None, 4, MONDAY)
    assert (first.limit, first.rest_until) == (3, None)
    assert congestion_after_refusal(first, 2, MONDAY).limit == 1
    narrow = node(max_associations=4, congestion=first)
    assert usable_nodes([narrow], {1: 3}, MONDAY) == ([], [])
    assert usable_nodes([narrow], {1: 2}, MONDAY) == ([1], [1])


def test_a_node_that_refuses_our_only_association_rests_longer_each_time():
    congestion, rests = None, []
    for _ in range(8):
        congestion = congestion_after_refusal(congestion, 1, MONDAY)
        rests.append((congestion.rest_until - MONDAY).total_seconds())
    assert rests == [1, 2, 5, 10, 20, 30, 30, 30]
    busy = node(congestion=congestion)
    assert usable_nodes([busy], {}, MONDAY) == ([], [])
    assert usable_nodes([busy], {}, congestion.rest_until) == ([1], [1])


def test_a_spared_node_is_asked_for_one_more_each_minute_until_it_has_all():
    held = node(max_associations=3, congestion=Congestion(1, MONDAY, 2, MONDAY))
    assert relieve_congestion(held, MONDAY + timedelta(seconds=59)) == held.congestion
    later = MONDAY + timedelta(seconds=60)
    assert relieve_congestion(held, later) == Congestion(2, later)
    almost = node(max_associations=3, congestion=Congestion(2, later))
    assert relieve_congestion(almost, later + timedelta(seconds=60)) is None


def test_the_settings_stay_the_most_a_congested_node_is_asked_for():
    narrowed = node(max_associations=1, congestion=Congestion(3, MONDAY))
    assert usable_nodes([narrowed], {1: 1}, MONDAY) == ([], [])
