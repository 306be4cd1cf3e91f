"""One retrieve from what is expected to how it ends, with table and peers in memory.

The real table and real peers are in the integration and end-to-end tests.
"""
# ruff: noqa: ARG002 - the port's arguments

from dataclasses import replace
from uuid import uuid4

import pytest

from draw_qr_worker.models import (
    Arrivals,
    ClaimedJob,
    InvalidJob,
    Item,
    JobState,
    Lease,
    Node,
    PeerAborted,
    RetrieveEnd,
    StatusTransient,
    SubOperationCounts,
)
from draw_qr_worker.services.expectation import Expectation
from draw_qr_worker.services.jobs import Control
from draw_qr_worker.services.retrieving import RetrieveTask

ITEMS = tuple(Item("1", "1.1", f"1.1.{n}") for n in range(5))
NODE = Node(7, "n", "PACS", "h", 104, supports_get=True)


class Table:
    """Items and an index in memory."""

    def __init__(self, here=()):
        self.index = set(here)
        self.rows = {}
        self.arrives_here = True

    def items(self, _job_id):
        return list(self.rows.values())

    def record(self, _lease, items, *, arrives_here, here_counts):
        self.arrives_here = arrives_here
        self.rows = {item.sop_instance_uid: item for item in items}
        if arrives_here and here_counts:
            self._mark(self.index)
        return self.items(None)

    def look(self, _job_id):
        if self.arrives_here:
            self._mark(self.index)
        arrived = [item for item in self.rows.values() if item.arrived]
        return Arrivals(len(self.rows), len(arrived), 10 * len(arrived))

    def mark(self, _lease, *, all_but):
        self._mark(set(self.rows) - set(all_but))

    def indexed(self, _studies, _series):
        return Arrivals(len(self.index), len(self.index), 10 * len(self.index))

    def _mark(self, uids):
        for uid in uids & set(self.rows):
            self.rows[uid] = replace(self.rows[uid], arrived=True)


class Expects:
    def __init__(self, expectation):
        self.expectation = expectation

    def of(self, _node, _subject, _supervision):
        return self.expectation


class Peers:
    """A node that puts objects straight into the index."""

    def __init__(self, table, sends=5, *, failed=0, breaks=False):
        self.table, self.sends, self.failed, self.breaks = table, sends, failed, breaks
        self.asked = []

    def move(self, _node, level, keys, *, destination, supervision, progress, alive):
        return self._retrieved("move", level, keys, destination, progress)

    def get(self, _node, level, keys, *, sop_classes, supervision, progress, stored):
        for _ in range(self.sends):
            stored(10)
        return self._retrieved("get", level, keys, "", progress)

    def _retrieved(self, how, level, keys, destination, progress):
        self.asked.append((how, level, keys.get("SOPInstanceUID"), destination))
        self.table.index |= {f"1.1.{n}" for n in range(self.sends)}
        if self.breaks:
            raise PeerAborted("closed")
        counts = SubOperationCounts(0, self.sends, self.failed, 0)
        progress(counts)
        return RetrieveEnd(0, "Success (0x0000)", counts, ("1.1.4",) if self.failed else ())


def run(table, peers, *, expectation=None, node=NODE, **parameters):
    expectation = expectation or Expectation(("1",), ITEMS, len(ITEMS))
    job = ClaimedJob(
        Lease(uuid4(), 1),
        "retrieve",
        1,
        0,
        node,
        parameters={"study_instance_uid": "1"} | parameters,
    )
    task = RetrieveTask(
        table, Expects(expectation), peers, peers, lambda: "DRAW", arrival_seconds=0.05
    )
    control = Control(job.lease)
    return task, job, lambda: task.run(job, control), control


def test_everything_that_was_expected_is_complete():
    table = Table()
    peers = Peers(table)
    _, _, execute, control = run(table, peers)
    outcome = execute()
    assert (outcome.state, outcome.result["arrived"]) == (JobState.COMPLETE, 5)
    assert peers.asked == [("move", "STUDY", None, "DRAW")]
    assert (control.progress["phase"], control.progress["arrived"]) == ("over", 5)


def test_what_is_here_is_not_asked_for():
    table = Table(f"1.1.{n}" for n in range(5))
    peers = Peers(table)
    outcome = run(table, peers)[2]()
    assert (outcome.state, outcome.result["already_here"]) == (JobState.COMPLETE, 5)
    assert peers.asked == []


def test_force_asks_for_it_all_the_same():
    table = Table(f"1.1.{n}" for n in range(5))
    peers = Peers(table)
    outcome = run(table, peers, force=True)[2]()
    assert (outcome.state, outcome.result["already_here"]) == (JobState.COMPLETE, 0)
    assert len(peers.asked) == 1


def test_what_did_not_come_is_named():
    table = Table()
    outcome = run(table, Peers(table, sends=3))[2]()
    assert outcome.state is JobState.PARTIAL
    assert outcome.result["missing_sop_instance_uids"] == ["1.1.3", "1.1.4"]
    assert outcome.error.startswith("2 of 5 did not arrive; the node said: Success")


def test_failed_sub_operations_are_worth_another_try_and_only_what_is_missing():
    table = Table()
    task, job, execute, control = run(table, Peers(table, sends=4, failed=1))
    with pytest.raises(StatusTransient, match="1 of 5"):
        execute()
    peers = task._movers
    peers.sends, peers.failed = 5, 0
    assert task.run(job, control).state is JobState.COMPLETE
    assert peers.asked[-1] == ("move", "IMAGE", ["1.1.4"], "DRAW")


def test_giving_up_tells_what_came_until_then():
    table = Table()
    task, job, execute, _ = run(table, Peers(table, sends=2, breaks=True))
    with pytest.raises(PeerAborted):
        execute()
    outcome = task.give_up(job, PeerAborted("closed"))
    assert (outcome.state, outcome.error) == (JobState.PARTIAL, "closed")
    assert outcome.result["missing"] == 3
    nothing = Table()
    task, job, _, _ = run(nothing, Peers(nothing))
    assert task.give_up(job, PeerAborted("closed")).state is JobState.FAILED


@pytest.mark.parametrize(
    ("node", "parameters", "how"),
    [
        (NODE, {}, "move"),
        (replace(NODE, supports_move=False), {}, "get"),
        (NODE, {"method": "get"}, "get"),
        (NODE, {"method": "move"}, "move"),
    ],
)
def test_the_method_follows_from_order_and_node(node, parameters, how):
    table = Table()
    peers = Peers(table)
    assert run(table, peers, node=node, **parameters)[2]().state is JobState.COMPLETE
    assert [asked[0] for asked in peers.asked] == [how]


@pytest.mark.parametrize(
    ("node", "parameters"),
    [
        (NODE, {"method": "get", "destination": "OTHER"}),
        (replace(NODE, supports_get=False), {"method": "get"}),
        (replace(NODE, supports_move=False), {"method": "move"}),
        (None, {}),
    ],
)
def test_what_the_node_cannot_do_is_no_job(node, parameters):
    table = Table()
    with pytest.raises(InvalidJob):
        run(table, Peers(table), node=node, **parameters)[2]()


def test_elsewhere_the_counts_of_the_node_decide():
    table = Table()
    peers = Peers(table)
    outcome = run(table, peers, destination="OTHER")[2]()
    assert outcome.state is JobState.COMPLETE
    assert peers.asked == [("move", "STUDY", None, "OTHER")]
    assert all(item.arrived for item in table.items(None))
    table = Table()
    with pytest.raises(StatusTransient, match="1 were not sent"):
        run(table, Peers(table, sends=4, failed=1), destination="OTHER")[2]()
    assert [i.sop_instance_uid for i in table.items(None) if not i.arrived] == ["1.1.4"]


@pytest.mark.parametrize(
    ("count", "sends", "state"),
    [
        (5, 5, JobState.COMPLETE),
        (5, 4, JobState.PARTIAL),
        (None, 3, JobState.COMPLETE),
        (None, 0, JobState.FAILED),
    ],
)
def test_without_a_list_numbers_decide(count, sends, state):
    table = Table()
    expectation = Expectation(("1",), (), count)
    assert run(table, Peers(table, sends=sends), expectation=expectation)[2]().state is state


def test_the_nodes_own_destination_is_here():
    table = Table()
    peers = Peers(table)
    node = replace(NODE, move_destination="DRAW2")
    assert run(table, peers, node=node)[2]().state is JobState.COMPLETE
    assert peers.asked[0][3] == "DRAW2"
