"""One retrieve from what is expected to how it ends, with table and peers in memory.

The real table and real peers are in the integration and end-to-end tests.
"""
# ruff: noqa: ARG002 - the port's arguments

import threading
from dataclasses import replace
from uuid import uuid4

import pytest

from draw_qr_worker.models import (
    ClaimedJob,
    Fetched,
    InvalidJob,
    Item,
    JobState,
    Lease,
    RemoteNode,
    RemoteRetrieveEnd,
    StatusTransient,
    SubOperationCounts,
)
from draw_qr_worker.services.expectation import Expectation, StudyExpectation
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.retrieving import RetrieveTask
from draw_shared.dicom.network.peer_failures import PeerAborted
from support.generated_node import Index

ITEMS = tuple(Item("1", "1.1", f"1.1.{n}") for n in range(5))
NODE = RemoteNode(7, "n", "PACS", "h", 104, supports_get=True)


class Expects:
    def __init__(self, expectation):
        self.expectation = expectation

    def expect(self, _node, _subject, _supervision):
        return self.expectation


def one_study(items=ITEMS, count=5, *, listed=True, doubt="", unchecked="", **more):
    """Return what is expected of the only study."""
    study = StudyExpectation("1", "", tuple(items), count, listed, doubt, unchecked)
    return Expectation((study,), **more)


def table(here=()):
    """Return the index with these SOP instances."""
    return Index([object_of(uid) for uid in here])


def object_of(uid):
    return {"StudyInstanceUID": "1", "SeriesInstanceUID": "1.1", "SOPInstanceUID": uid}


class Peers:
    """A node that puts objects straight into the index."""

    def __init__(self, table, sends=5, *, failed=0, breaks=False, says=None):
        self.table, self.sends, self.failed, self.breaks = table, sends, failed, breaks
        self.says = says
        self.names_failed = True
        self.deliver = table.receive
        self.strays = ()
        self.asked = []

    def move(self, _node, level, keys, *, destination, supervision, progress, alive):
        return self._retrieved("move", level, keys, destination, progress)

    def get(
        self,
        _node,
        level,
        keys,
        *,
        sop_classes,
        further_classes,
        supervision,
        progress,
        stored,
    ):
        for study in self.strays:
            stored(Fetched(study, f"{study}.1", 10, f"{study}.0"))
        for n in range(self.sends):
            stored(Fetched("1", f"1.1.{n}", 10, "1.1"))
        return self._retrieved("get", level, keys, "", progress)

    def _retrieved(self, how, level, keys, destination, progress):
        self.asked.append((how, level, keys.get("SOPInstanceUID"), destination))
        wanted = keys.get("SOPInstanceUID")
        sent = [f"1.1.{n}" for n in range(self.sends)]
        sent = [uid for uid in sent if wanted is None or uid in wanted]
        for uid in sent:
            self.deliver(object_of(uid))
        if self.breaks:
            raise PeerAborted("closed")
        told = len(sent) if self.says is None else self.says
        counts = SubOperationCounts(0, told, self.failed, 0)
        progress(counts)
        failed = ("1.1.4",) if self.failed and self.names_failed else ()
        return RemoteRetrieveEnd(0, "Success (0x0000)", counts, failed)


def run(index, peers, *, expectation=None, node=NODE, **parameters):
    expectation = expectation or one_study()
    job = ClaimedJob(
        Lease(uuid4(), 1),
        "retrieve",
        1,
        0,
        node,
        parameters={"study_instance_uid": "1"} | parameters,
    )
    task = RetrieveTask(
        index, Expects(expectation), peers, peers, lambda: "DRAW", arrival_seconds=0.05
    )
    control = ExecutionControl(job.lease)
    return task, job, lambda: task.run(job, control), control


def test_everything_that_was_expected_is_complete():
    here = table()
    peers = Peers(here)
    _, _, execute, control = run(here, peers)
    outcome = execute()
    assert (outcome.state, outcome.result["arrived"]) == (JobState.COMPLETE, 5)
    assert peers.asked == [("move", "STUDY", None, "DRAW")]
    assert (control.progress["phase"], control.progress["arrived"]) == ("over", 5)


def test_what_is_here_is_not_asked_for():
    here = table(f"1.1.{n}" for n in range(5))
    peers = Peers(here)
    outcome = run(here, peers)[2]()
    assert (outcome.state, outcome.result["already_here"]) == (JobState.COMPLETE, 5)
    assert peers.asked == []


def test_force_asks_for_it_all_the_same():
    here = table(f"1.1.{n}" for n in range(5))
    peers = Peers(here)
    outcome = run(here, peers, force=True)[2]()
    assert (outcome.state, outcome.result["already_here"]) == (JobState.COMPLETE, 0)
    assert len(peers.asked) == 1


def test_what_did_not_come_is_named():
    here = table()
    outcome = run(here, Peers(here, sends=3))[2]()
    assert outcome.state is JobState.PARTIAL
    assert outcome.result["missing_sop_instance_uids"] == ["1.1.3", "1.1.4"]
    assert outcome.error.startswith("2 of 5 did not arrive; the node said: Success")


def test_failed_sub_operations_are_worth_another_try_and_only_what_is_missing():
    here = table()
    task, job, execute, control = run(here, Peers(here, sends=4, failed=1))
    with pytest.raises(StatusTransient, match="1 of 5"):
        execute()
    peers = task._movers
    peers.sends, peers.failed = 5, 0
    assert task.run(job, control).state is JobState.COMPLETE
    assert peers.asked[-1] == ("move", "IMAGE", ["1.1.4"], "DRAW")


def test_until_a_delivery_is_given_up_what_did_not_come_is_asked_for_again():
    here = table()
    limit = {"give_up_at": "2026-12-07T12:00:00+00:00"}
    task, job, execute, control = run(here, Peers(here, sends=3), **limit)
    with pytest.raises(StatusTransient, match="2 of 5 did not arrive") as raised:
        execute()
    given_up = task.give_up(job, raised.value)
    assert (given_up.state, given_up.result["missing"]) == (JobState.PARTIAL, 2)
    task._movers.sends = 5
    assert task.run(job, control).state is JobState.COMPLETE
    unproved = one_study(ITEMS[:3], 5, listed=False, doubt="stops at its limit")
    doubtful = run(here, Peers(here), expectation=unproved, **limit)[2]()
    assert doubtful.state is JobState.UNPROVED


def test_giving_up_tells_what_came_until_then():
    here = table()
    task, job, execute, _ = run(here, Peers(here, sends=2, breaks=True))
    with pytest.raises(PeerAborted):
        execute()
    outcome = task.give_up(job, PeerAborted("closed"))
    assert (outcome.state, outcome.error) == (JobState.PARTIAL, "closed")
    assert outcome.result["missing"] == 3
    nothing = table()
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
    here = table()
    peers = Peers(here)
    assert run(here, peers, node=node, **parameters)[2]().state is JobState.COMPLETE
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
    here = table()
    with pytest.raises(InvalidJob):
        run(here, Peers(here), node=node, **parameters)[2]()


def test_elsewhere_the_counts_of_the_node_decide():
    here = table()
    peers = Peers(here)
    outcome = run(here, peers, destination="OTHER")[2]()
    assert outcome.state is JobState.COMPLETE
    assert peers.asked == [("move", "STUDY", None, "OTHER")]
    assert all(item.arrived for item in here.items(None))
    here = table()
    with pytest.raises(StatusTransient, match="1 were not sent"):
        run(here, Peers(here, sends=4, failed=1), destination="OTHER")[2]()
    assert [i.sop_instance_uid for i in here.items(None) if not i.arrived] == ["1.1.4"]


@pytest.mark.parametrize(
    ("count", "sends", "state"),
    [
        (5, 5, JobState.COMPLETE),
        (5, 4, JobState.PARTIAL),
        (None, 3, JobState.UNPROVED),
        (None, 0, JobState.FAILED),
    ],
)
def test_without_a_list_numbers_decide(count, sends, state):
    here = table()
    expectation = one_study((), count, listed=False)
    assert run(here, Peers(here, sends=sends), expectation=expectation)[2]().state is state


def test_the_nodes_own_destination_is_here():
    here = table()
    peers = Peers(here)
    node = replace(NODE, move_destination="DRAW2")
    assert run(here, peers, node=node)[2]().state is JobState.COMPLETE
    assert peers.asked[0][3] == "DRAW2"


@pytest.mark.parametrize("method", ["move", "get"])
def test_what_is_here_already_proves_nothing_about_what_was_sent(method):
    # Five are expected, five others are here: the node says that it sent five, and sent none.
    here = table(f"1.1.{n}" for n in range(5, 10))
    expectation = one_study((), 5, listed=False)
    outcome = run(here, Peers(here, sends=0, says=5), expectation=expectation, method=method)[2]()
    assert outcome.state is JobState.UNPROVED
    assert "were here before" in outcome.error
    forced = table(f"1.1.{n}" for n in range(5))
    outcome = run(forced, Peers(forced, sends=0, says=5), force=True, method=method)[2]()
    assert (outcome.state, outcome.result["missing"]) == (JobState.FAILED, 5)


def test_what_was_not_named_is_fetched_with_the_whole_study():
    here = table(["1.1.0"])
    peers = Peers(here)
    expectation = one_study(ITEMS[:2], 5, listed=False)
    outcome = run(here, peers, expectation=expectation)[2]()
    assert (outcome.state, outcome.result["arrived"]) == (JobState.COMPLETE, 5)
    assert peers.asked == [("move", "STUDY", None, "DRAW")]
    less = table()
    outcome = run(less, Peers(less, sends=3), expectation=expectation)[2]()
    assert (outcome.state, outcome.result["missing"]) == (JobState.PARTIAL, 2)


@pytest.mark.parametrize(
    ("expectation", "says", "state", "words"),
    [
        (one_study(doubt="cut"), None, JobState.UNPROVED, "cut"),
        (one_study(unchecked="stops at 5", listed=False), 5, JobState.COMPLETE, ""),
        (one_study(unchecked="stops at 5", listed=False), 4, JobState.UNPROVED, "stops at 5"),
        (one_study(), 9, JobState.UNPROVED, "sent 9 objects where its answers speak of 5"),
    ],
)
@pytest.mark.parametrize("destination", ["", "OTHER"])
def test_a_doubt_ends_unproved_unless_the_nodes_own_count_dispels_it(
    expectation, says, state, words, destination
):
    here = table()
    peers = Peers(here, says=says)
    outcome = run(here, peers, expectation=expectation, destination=destination)[2]()
    if destination and says == 4:
        state, words = JobState.PARTIAL, "1 were not sent"
    assert outcome.state is state
    assert words in outcome.error


def test_what_is_known_to_lack_ends_partial_and_what_does_not_fit_is_reported():
    here = table()
    expectation = one_study(lacking="15 studies and names 10", unfit=("2", "3"))
    outcome = run(here, Peers(here), expectation=expectation)[2]()
    assert outcome.state is JobState.PARTIAL
    assert outcome.error.startswith("15 studies and names 10")
    assert outcome.result["not_fetched_study_instance_uids"] == ["2", "3"]


def test_elsewhere_a_try_after_failures_that_nobody_named_asks_for_everything_again():
    here = table()
    peers = Peers(here, sends=4, failed=1)
    task, job, execute, control = run(here, peers, destination="OTHER")
    peers.names_failed = False
    with pytest.raises(StatusTransient):
        execute()
    assert not any(item.arrived for item in here.items(None))
    peers.sends, peers.failed = 5, 0
    assert task.run(job, control).state is JobState.COMPLETE
    assert peers.asked[-1] == ("move", "STUDY", None, "OTHER")


def test_giving_up_with_everything_that_was_named_proves_nothing():
    here = table(f"1.1.{n}" for n in range(5))
    task, job, _, _ = run(here, Peers(here))
    here.record(None, ITEMS, arrives_here=True, here_counts=True)
    assert task.give_up(job, PeerAborted("closed")).state is JobState.UNPROVED


def test_what_is_durable_here_is_waited_for_until_the_index_has_it():
    # The index hears of what came by C-GET later than after the patience for what was sent.
    here = table()
    peers = Peers(here)
    late = threading.Timer(0.4, lambda: [here.receive(object_of(f"1.1.{n}")) for n in range(5)])
    peers.deliver = lambda _: None
    task, job, _, control = run(here, peers, method="get")
    late.start()
    outcome = task.run(job, control)
    assert (outcome.state, outcome.result["arrived"]) == (JobState.COMPLETE, 5)


def test_objects_that_nobody_asked_for_are_reported_and_count_for_nothing():
    here = table()
    peers = Peers(here, sends=4)
    peers.strays = ("2", "3")
    outcome = run(here, peers, method="get")[2]()
    assert (outcome.state, outcome.result["missing"]) == (JobState.PARTIAL, 1)
    assert outcome.result["not_asked_for_study_instance_uids"] == ["2", "3"]


@pytest.mark.parametrize("destination", ["", "OTHER"])
@pytest.mark.parametrize(
    ("while_sending", "last"),
    [
        # The end leaves out what remains, as PS3.7 9.1.4.1.7 wants it.
        (SubOperationCounts(1, 4, 0, 0), SubOperationCounts(None, 5, 0, 0)),
        (SubOperationCounts(0, 5, 0, 0), SubOperationCounts()),
    ],
)
def test_counts_of_the_end_are_those_of_the_end_or_else_the_last_before(
    while_sending, last, destination
):
    here = table()
    peers = Peers(here)
    answered = peers.move

    def move(*arguments, progress, **named):
        answered(*arguments, progress=lambda _: None, **named)
        progress(while_sending)
        progress(last)
        return RemoteRetrieveEnd(0, "Success (0x0000)", last)

    peers.move = move
    outcome = run(here, peers, destination=destination)[2]()
    assert (outcome.state, outcome.error) == (JobState.COMPLETE, "")


@pytest.mark.parametrize("named", ["9.9.9", "1.1.4 ", ""])
def test_elsewhere_failures_by_names_that_nobody_expects_prove_nothing_of_the_others(named):
    here = table()
    peers = Peers(here, sends=4, failed=1)
    answered = peers.move

    def move(*arguments, **more):
        return replace(answered(*arguments, **more), failed_sop_instance_uids=(named,))

    peers.move = move
    task, job, execute, control = run(here, peers, destination="OTHER")
    with pytest.raises(StatusTransient):
        execute()
    assert "1.1.4" in {item.sop_instance_uid for item in here.items(None) if not item.arrived}
    with pytest.raises(StatusTransient):
        task.run(job, control)


def test_elsewhere_a_failure_that_is_named_and_not_counted_is_one():
    here = table()
    peers = Peers(here)
    answered = peers.move
    peers.move = lambda *given, **more: replace(
        answered(*given, **more), failed_sop_instance_uids=("1.1.2",)
    )
    outcome = run(here, peers, destination="OTHER")[2]()
    assert (outcome.state, outcome.result["missing_sop_instance_uids"]) == (
        JobState.PARTIAL,
        ["1.1.2"],
    )


@pytest.mark.parametrize("method", ["move", "get"])
@pytest.mark.parametrize("unfit", [("2",), ()])
def test_items_of_an_earlier_try_in_studies_that_do_not_fit_are_not_asked_for(unfit, method):
    # Whoever wrote them may not have compared them with what the job names.
    here = table()
    other = Item("2", "2.1", "2.1.1")
    here.record(None, [other], arrives_here=True, here_counts=True)
    peers = Peers(here)
    outcome = run(
        here,
        peers,
        expectation=one_study(unfit=unfit),
        study_instance_uid="",
        patient_id="P",
        method=method,
    )[2]()
    assert [asked[1] for asked in peers.asked] == ["STUDY"]
    assert outcome.state is (JobState.COMPLETE if unfit else JobState.PARTIAL)
    assert outcome.result["missing"] == (0 if unfit else 1)


def test_what_others_send_meanwhile_is_no_proof_when_the_node_says_that_it_sent_less():
    here = table()
    peers = Peers(here, sends=3)

    def deliver(one):
        here.receive(one)
        if one["SOPInstanceUID"] == "1.1.0":
            here.receive(object_of("1.1.7"))
            here.receive(object_of("1.1.8"))

    peers.deliver = deliver
    outcome = run(here, peers, expectation=one_study((), 5, listed=False))[2]()
    assert outcome.state is JobState.UNPROVED
    assert "the node sent 3 objects where its answers speak of 5" in outcome.error


def test_what_c_get_brings_of_another_series_is_not_what_was_asked_for():
    here = table()
    peers = Peers(here, sends=3)
    peers.deliver = lambda _: None
    answered = peers.get

    def get(*arguments, stored, **more):
        stored(Fetched("1", "1.1.8", 10, "1.2"))
        stored(Fetched("1", "1.1.9", 10, "1.2"))
        return answered(*arguments, stored=stored, **more)

    peers.get, peers.says = get, 5
    expectation = one_study((), 5, listed=False)
    asked = {"method": "get", "series_instance_uid": "1.1"}
    outcome = run(here, peers, expectation=expectation, **asked)[2]()
    assert (outcome.state, outcome.result["missing"]) == (JobState.PARTIAL, 2)
