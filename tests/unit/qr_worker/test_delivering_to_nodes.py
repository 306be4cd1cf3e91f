"""What a delivery sends to a node, what it does not, and how it ends.

Folders and tasks are in tests/integration/qr_worker/test_delivering.py, real peers in
tests/e2e/test_delivery_peers.py.
"""

from dataclasses import replace
from uuid import uuid4

import pytest

from draw_qr_worker.models import (
    AnsweredObject,
    ClaimedJob,
    IndexedObject,
    InvalidJob,
    Item,
    JobState,
    Lease,
    ObjectsRefused,
    RemoteNode,
    StatusTransient,
    StoredFileAway,
)
from draw_qr_worker.services.delivering import DeliverTask, endpoint_of
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.shared_jobs import AGAIN, GONE, LACKING, PARTS
from draw_shared.dicom.network.peer_failures import PeerAborted, PeerTimeout, Unreachable
from draw_shared.errors import Permanent, Transient

CT = "1.2.840.10008.5.1.4.1.1.2"
NODE = RemoteNode(1, "planning", "PLAN", "192.0.2.17", 104, stores_from=("PLAN_2",))


def thing(number, content=b"a", calling="SCANNER", address="192.0.2.9"):
    """Return an object of the index."""
    item = Item("1.2", "1.2.1", f"1.2.1.{number}", CT)
    return IndexedObject(
        item, "1.2.840.10008.1.2.1", f"{number}.dcm", 100, content, calling, address
    )


class Archive:
    """An index and what endpoints have answered for, both in memory."""

    def __init__(self, *objects):
        self.things = list(objects)
        self.there = {}
        self.written = []
        self.brought_by = {}

    def objects(self, _subject):
        return list(self.things)

    def answered(self, endpoint, uids):
        known = self.there.get(endpoint, {})
        return {uid: list(known[uid].values()) for uid in uids if uid in known}

    def record(self, _lease, endpoint, delivery_ids, objects):
        for delivery, one in zip(delivery_ids, objects, strict=True):
            self.brought_by[one.sop_instance_uid] = delivery
            known = self.there.setdefault(endpoint, {}).setdefault(one.sop_instance_uid, {})
            before = known.pop(one.content_sha256, one)
            hops = one.hops if before is one else before.hops + one.hops
            known[one.content_sha256] = replace(one, hops=hops, origin=one.origin or before.origin)
        self.written.append(len(objects))


class Peer:
    """A node that answers by SOP Instance UID, and fails after so many."""

    def __init__(self, statuses=None, breaks_after=None, failure=PeerAborted):
        self.statuses, self.breaks_after, self.failure = statuses or {}, breaks_after, failure
        self.got = []

    def addresses(self, node):
        return {node.host}

    def send(self, _node, objects, _control, answered):
        for one in objects:
            if self.breaks_after is not None and len(self.got) == self.breaks_after:
                raise self.failure("broken off")
            self.got.append(one.item.sop_instance_uid)
            answered(one, self.statuses.get(one.item.sop_instance_uid, 0), "")


def job(node=NODE, **more):
    parameters = {
        "delivery_id": 1,
        "target": {"kind": "node", "name": "planning", "remote_node": "planning"},
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.2.1",
        "sop_instance_uids": [],
    } | more
    return ClaimedJob(Lease(uuid4(), 1), "deliver", 1, 0, node, parameters=parameters)


def deliver(archive, peer, node=NODE):
    """Carry out one execution; return how it ended."""
    made = job(node)
    task = DeliverTask(archive, archive, peer, None, None, None)
    return task.run(made, ExecutionControl(made.lease))


def test_only_what_the_endpoint_has_not_answered_for_is_sent():
    archive, peer = Archive(thing(1), thing(2)), Peer()
    assert deliver(archive, peer).state is JobState.COMPLETE
    archive.things.append(thing(3))
    ended = deliver(archive, peer)
    assert (ended.state, ended.result["already_there"]) == (JobState.COMPLETE, 2)
    assert peer.got == ["1.2.1.1", "1.2.1.2", "1.2.1.3"]


def test_a_node_that_moves_gets_everything_again():
    archive, peer = Archive(thing(1)), Peer()
    deliver(archive, peer)
    moved = RemoteNode(1, "planning", "PLAN", "192.0.2.18", 104)
    deliver(archive, peer, moved)
    assert peer.got == ["1.2.1.1"] * 2
    assert set(archive.there) == {endpoint_of(NODE), endpoint_of(moved)}


@pytest.mark.parametrize("sender", ["PLAN", "PLAN_2"])
@pytest.mark.parametrize("address", ["192.0.2.17", "::ffff:192.0.2.17"])
def test_nothing_goes_back_to_where_it_came_from_and_that_is_said(sender, address):
    archive, peer = Archive(thing(1, b"a", sender, address), thing(2)), Peer()
    ended = deliver(archive, peer)
    assert peer.got == ["1.2.1.2"]
    assert ended.state is JobState.COMPLETE
    assert (ended.result["came_from_there"], ended.result["delivered"]) == (1, 2)
    assert ended.error == "1 of 2 came from there and were not sent"


@pytest.mark.parametrize("address", ["192.0.2.99", ""])
def test_what_came_from_another_device_of_the_same_title_is_sent(address):
    archive, peer = Archive(thing(1, b"a", "PLAN", address)), Peer()
    ended = deliver(archive, peer)
    assert (ended.state, ended.error, peer.got) == (JobState.COMPLETE, "", ["1.2.1.1"])


def test_an_endpoint_has_what_it_has_answered_for_last():
    archive, peer = Archive(), Peer()
    for content in (b"original", b"corrected", b"second", b"corrected", b"third", b"original"):
        archive.things = [thing(1, content)]
        for sent in (len(peer.got) + 1,) * 2:
            assert deliver(archive, peer).state is JobState.COMPLETE
            assert len(peer.got) == sent


def test_what_is_corrected_back_is_sent_if_a_worker_died_with_the_answer_to_the_correction():
    archive, peer = Archive(thing(1, b"original")), Peer()
    deliver(archive, peer)
    archive.things = [thing(1, b"corrected")]
    kept = archive.record

    def die_with_the_answer(lease, endpoint, delivery_ids, objects):
        if objects[0].content_sha256 == b"corrected":
            raise Transient("the database is away")
        kept(lease, endpoint, delivery_ids, objects)

    archive.record = die_with_the_answer
    with pytest.raises(Transient):
        deliver(archive, peer)
    archive.record = kept
    archive.things = [thing(1, b"original")]
    assert deliver(archive, peer).state is JobState.COMPLETE
    assert peer.got == ["1.2.1.1"] * 3


@pytest.mark.parametrize("sender", [("PARTNER", "192.0.2.10"), ("PLAN", "192.0.2.99")])
@pytest.mark.parametrize("contents", ["bcdef", "bcbc"], ids=["ever new", "in turns"])
def test_what_comes_back_changed_goes_to_an_endpoint_three_times(sender, contents):
    archive, peer = Archive(thing(1)), Peer()
    deliver(archive, peer)
    for content in contents[:3]:
        archive.things = [thing(1, content.encode(), *sender)]
        assert deliver(archive, peer).state is JobState.COMPLETE
    for content in contents[3:]:
        archive.things = [thing(1, content.encode(), *sender), thing(2)]
        ended = deliver(archive, peer)
        assert ended.state is JobState.PARTIAL
        assert "1 of 2 were not taken" in ended.error
        assert "1.2.1.1 has gone there 3 times after others had changed it" in ended.error
    assert peer.got == [*["1.2.1.1"] * 4, "1.2.1.2"]
    # Who has sent it first may go on to correct it.
    archive.things = [thing(1, b"z")]
    assert deliver(archive, peer).state is JobState.COMPLETE
    assert len(peer.got) == 6


def test_what_has_always_come_from_a_device_of_the_same_title_comes_to_rest():
    archive, peer = Archive(), Peer()
    for content in (b"a", b"b", b"c"):
        archive.things = [thing(1, content, "PLAN", "192.0.2.99")]
        assert deliver(archive, peer).state is JobState.COMPLETE
    archive.things = [thing(1, b"d", "PLAN", "192.0.2.99")]
    assert deliver(archive, peer).state is JobState.FAILED


def test_warnings_count_as_delivered():
    archive, peer = Archive(thing(1), thing(2)), Peer({"1.2.1.1": 0xB000})
    ended = deliver(archive, peer)
    assert (ended.state, ended.result["warning"]) == (JobState.COMPLETE, 1)


def test_what_was_refused_is_tried_again_without_the_rest():
    archive, peer = Archive(thing(1), thing(2)), Peer({"1.2.1.1": 0xA700})
    with pytest.raises(ObjectsRefused, match="1 of 2 were not taken"):
        deliver(archive, peer)
    peer.statuses = {}
    assert deliver(archive, peer).state is JobState.COMPLETE
    assert peer.got == ["1.2.1.1", "1.2.1.2", "1.2.1.1"]


@pytest.mark.parametrize(
    ("status", "of_the_objects"),
    [(0xC000, True), (0xA900, True), (0x0122, True), (0xA700, False), (0xA701, False)],
)
def test_a_node_without_room_is_at_fault_itself_and_other_refusals_are_the_objects(
    status, of_the_objects
):
    archive, peer = Archive(thing(1)), Peer({"1.2.1.1": status})
    with pytest.raises(StatusTransient) as raised:
        deliver(archive, peer)
    assert isinstance(raised.value, ObjectsRefused) is of_the_objects


def test_what_was_answered_before_the_node_broke_off_is_kept():
    archive, peer = Archive(*map(thing, range(5))), Peer(breaks_after=3)
    with pytest.raises(PeerAborted):
        deliver(archive, peer)
    assert sum(archive.written) == 3
    peer.breaks_after = None
    deliver(archive, peer)
    assert sorted(peer.got) == [f"1.2.1.{n}" for n in range(5)]


def test_answers_are_written_every_few_objects():
    archive = Archive(*map(thing, range(50)))
    deliver(archive, Peer())
    assert max(archive.written) <= 20
    assert sum(archive.written) == 50


def test_a_series_that_is_gone_and_a_node_that_was_removed_say_so():
    assert deliver(Archive(), Peer()).result == {GONE: True}
    assert deliver(Archive(thing(1)), Peer(), None).result == {AGAIN: True}


@pytest.mark.parametrize(
    ("there", "error", "state"),
    [
        (1, PeerAborted("away"), JobState.PARTIAL),
        (0, PeerAborted("away"), JobState.FAILED),
        (1, InvalidJob("no such thing"), JobState.FAILED),
    ],
)
def test_what_is_given_up_is_partial_if_something_of_it_arrived(there, error, state):
    archive = Archive(thing(1), thing(2))
    archive.record(
        None,
        endpoint_of(NODE),
        [1] * there,
        [AnsweredObject(f"1.2.1.{n + 1}", b"a") for n in range(there)],
    )
    task = DeliverTask(archive, archive, Peer(), None, None, None)
    ended = task.give_up(job(), error)
    assert (ended.state, ended.error) == (state, str(error))
    assert ended.result["delivered"] == (there if state is JobState.PARTIAL else 0)


def shared(*numbers):
    """Return a job of one delivery for each of these objects, numbered from 101."""
    return job(
        sop_instance_uids=[f"1.2.1.{n}" for n in numbers], deliveries=[n + 100 for n in numbers]
    )


def carry_out(archive, peer, made):
    """Carry out one execution; return how it ended, and its progress."""
    task, control = (
        DeliverTask(archive, archive, peer, None, None, None),
        ExecutionControl(made.lease),
    )
    try:
        return task.run(made, control), control.progress
    except (Permanent, Transient) as error:
        return error, control.progress


def test_each_answer_to_a_shared_job_is_that_of_its_own_delivery():
    archive = Archive(*map(thing, range(1, 4)))
    ended, _ = carry_out(archive, Peer(), shared(3, 1, 2))
    assert (ended.state, ended.result[PARTS]) == (JobState.COMPLETE, {})
    assert archive.brought_by == {"1.2.1.1": 101, "1.2.1.2": 102, "1.2.1.3": 103}


def test_a_shared_job_says_what_has_become_of_those_that_were_not_simply_delivered():
    archive = Archive(thing(1), thing(2, b"a", "PLAN", NODE.host), thing(3))
    ended, _ = carry_out(archive, Peer({"1.2.1.3": None}), shared(1, 2, 3, 4))
    assert ended.state is JobState.PARTIAL
    assert ended.result[PARTS] == {
        "1.2.1.2": {"state": "complete", "error": "1 of 1 came from there and were not sent"},
        "1.2.1.3": {"state": "failed", "error": "1 of 1 were not taken"},
        "1.2.1.4": {
            "state": "failed",
            "error": "it was deleted here before it was sent",
            GONE: True,
        },
    }


@pytest.mark.parametrize(
    ("peer", "lacking"),
    [
        (Peer({"1.2.1.2": 0xC000}), ["1.2.1.2"]),
        (Peer(breaks_after=1), ["1.2.1.2", "1.2.1.3"]),
        (Peer(breaks_after=0), ["1.2.1.1", "1.2.1.2", "1.2.1.3"]),
        (Peer(breaks_after=0, failure=PeerTimeout), ["1.2.1.1", "1.2.1.2", "1.2.1.3"]),
        (Peer(breaks_after=1, failure=StoredFileAway), ["1.2.1.2", "1.2.1.3"]),
        (Peer(breaks_after=1, failure=Unreachable), ["1.2.1.2", "1.2.1.3"]),
        (Peer(breaks_after=0, failure=Unreachable), None),
        (Peer(dict.fromkeys(("1.2.1.1", "1.2.1.2", "1.2.1.3"), 0xA700)), None),
    ],
)
def test_a_shared_job_stays_together_only_if_no_object_can_be_at_fault(peer, lacking):
    archive = Archive(*map(thing, range(1, 4)))
    error, progress = carry_out(archive, peer, shared(1, 2, 3))
    assert isinstance(error, Transient)
    assert progress.get(LACKING) == lacking


def test_a_shared_job_that_is_given_up_says_what_is_there():
    archive = Archive(thing(1), thing(2), thing(3, b"a", "PLAN", NODE.host))
    archive.record(None, endpoint_of(NODE), [101], [AnsweredObject("1.2.1.1", b"a")])
    task = DeliverTask(archive, archive, Peer(), None, None, None)
    ended = task.give_up(shared(1, 2, 3, 4), PeerAborted("away"))
    assert ended.state is JobState.PARTIAL
    states = {uid: (one["state"], one["error"]) for uid, one in ended.result[PARTS].items()}
    assert states == {
        "1.2.1.2": ("failed", "away"),
        "1.2.1.3": ("complete", "1 of 1 came from there and were not sent"),
        "1.2.1.4": ("failed", "it was deleted here before it was sent"),
    }
