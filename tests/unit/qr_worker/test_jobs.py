"""One execution from claim to end, with a store in memory; SQL is not covered here."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from draw_qr_worker.models import (
    Cancelled,
    ClaimedJob,
    Interrupted,
    JobOutcome,
    JobState,
    Lease,
    LostLease,
    ObjectsRefused,
    RemoteNode,
    StoredFileAway,
)
from draw_qr_worker.services.jobs import FINAL, Execution, ExecutionControl
from draw_qr_worker.services.retries import RetryPolicy
from draw_shared.db.session import DatabaseUnavailable
from draw_shared.db.tables import JOB_STATES
from draw_shared.dicom.network.peer_failures import (
    PeerAborted,
    PeerCongested,
    PeerRejected,
    PeerTurnedAway,
    Unreachable,
)
from support.job_transitions import TRANSITIONS

NODE = RemoteNode(id=7, name="pacs", ae_title="PACS", host="h", port=104)


class MemoryStore:
    """Keeps what an execution writes; `lost` makes every write fail like a raised fence."""

    def __init__(self):
        self.written = []
        self.lost = False
        self.down = False

    def _write(self, *entry):
        if self.lost:
            raise LostLease("fence")
        if self.down:
            raise DatabaseUnavailable("gone")
        self.written.append(entry)

    def report(self, _lease, progress):
        self._write("progress", dict(progress))

    def finish(self, _lease, outcome):
        self._write("finish", outcome.state, outcome.error)

    def retry(self, _lease, *, delay_seconds, error, outcome):
        self._write(outcome, delay_seconds, error)

    def requeue_congested(self, _job, reason):
        self._write("congested", reason)

    def release(self, _lease):
        self._write("release")


class MemoryNodes:
    def __init__(self):
        self.calls = []
        self.shared = False

    def is_shared(self, _node_id):
        return self.shared

    def record_success(self, node_id):
        self.calls.append(("succeeded", node_id))

    def record_failure(self, node_id, reason):
        self.calls.append(("failed", node_id, reason))


class Does:
    """A task that calls a function."""

    def __init__(self, action):
        self._action = action

    def run(self, _job, control):
        return self._action(control)

    def give_up(self, _job, error):
        return JobOutcome(JobState.FAILED, error=str(error))


def execute(action, *, retries_used=0, store=None, shared=False, **fields):
    store = store or MemoryStore()
    nodes = MemoryNodes()
    nodes.shared = shared
    endings = []
    job = ClaimedJob(Lease(uuid4(), 1), "x", 1, retries_used, NODE, **fields)
    execution = Execution(
        store,
        nodes,
        {"x": Does(action)},
        RetryPolicy(lambda _low, _high: 1.0),
        lambda _kind, ended, _seconds: endings.append(ended),
    )
    execution.run(job, ExecutionControl(job.lease))
    return store.written, nodes.calls, endings


def raising(error):
    def action(_control):
        raise error

    return action


def test_success_is_written_and_closes_the_circuit():
    written, nodes, endings = execute(lambda _: JobOutcome(JobState.COMPLETE))
    assert written == [("finish", JobState.COMPLETE, "")]
    assert nodes == [("succeeded", 7)]
    assert endings == ["complete"]


def test_progress_is_written_before_the_end():
    def action(control):
        control.report(completed=3)
        return JobOutcome(JobState.COMPLETE)

    assert execute(action)[0][0] == ("progress", {"completed": 3})


def test_trouble_with_the_node_is_tried_again_and_counted():
    written, nodes, endings = execute(raising(Unreachable("no connection")))
    assert written == [("retry", 5.0, "no connection")]
    assert nodes == [("failed", 7, "no connection")]
    assert endings == ["retry"]


def test_the_last_try_fails_for_good():
    written, _, _ = execute(raising(Unreachable("no connection")), retries_used=4)
    assert written == [("finish", JobState.FAILED, "no connection")]


@pytest.mark.parametrize("off", [timedelta(days=-30), timedelta(days=30)])
def test_when_a_job_is_given_up_the_clock_of_the_database_says(off):
    claimed_at = datetime.now(UTC) + off

    def ending(left):
        until = {"give_up_at": (claimed_at + left).isoformat()}
        action = raising(Unreachable("no connection"))
        [written] = execute(action, retries_used=9, claimed_at=claimed_at, parameters=until)[0]
        return written[0], written[1]

    assert ending(timedelta(days=7)) == ("retry", 600.0)
    assert ending(timedelta(0)) == ("finish", JobState.FAILED)


def test_congestion_gives_the_job_back_and_is_no_failure_however_often_it_was_tried():
    written, nodes, endings = execute(raising(PeerCongested("not now")), retries_used=9)
    assert written == [("congested", "not now")]
    assert nodes == []
    assert endings == ["congested"]


def test_a_node_that_turns_a_job_away_while_it_serves_others_is_congested():
    turned_away = raising(PeerTurnedAway("the node aborted the association"))
    written, nodes, _ = execute(turned_away, retries_used=9, shared=True)
    assert written == [
        ("congested", "the node aborted the association, while it serves other jobs")
    ]
    assert nodes == []
    written, nodes, _ = execute(turned_away)
    assert [entry[0] for entry in written] == ["retry"]
    assert nodes == [("failed", 7, "the node aborted the association")]
    _, nodes, _ = execute(raising(PeerAborted("in the middle")), shared=True)
    assert nodes == [("failed", 7, "in the middle")]


def test_a_job_cancelled_while_its_node_is_congested_is_cancelled():
    def action(control):
        control.end(Cancelled("cancelled by an operator"))
        raise PeerCongested("not now")

    assert execute(action)[0] == [("finish", JobState.CANCELLED, "")]


def test_a_refusal_fails_at_once_and_says_nothing_about_the_circuit():
    written, nodes, _ = execute(raising(PeerRejected("does not know us")))
    assert written == [("finish", JobState.FAILED, "does not know us")]
    assert nodes == []


def test_what_nobody_foresaw_fails_without_showing_its_text():
    written, _, _ = execute(raising(KeyError("Doe^Jane")))
    assert written[0][:2] == ("finish", JobState.FAILED)
    assert "Doe" not in written[0][2]


def test_a_connection_cut_by_a_cancel_is_a_cancel():
    def action(control):
        control.end(Cancelled("by an operator"))
        raise Unreachable("we closed it ourselves")

    written, nodes, endings = execute(action)
    assert written == [("finish", JobState.CANCELLED, "")]
    assert nodes == []
    assert endings == ["cancelled"]


def test_a_stopping_worker_gives_the_job_back():
    def action(control):
        control.end(Interrupted("stopping"))
        control.check()

    assert execute(action)[0] == [("release",)]


def test_a_lost_lease_leaves_everything_to_the_successor():
    store = MemoryStore()
    store.lost = True
    written, _, endings = execute(lambda _: JobOutcome(JobState.COMPLETE), store=store)
    assert written == []
    assert endings == ["lost"]


def test_a_database_that_is_down_at_the_end_leaves_the_job_to_the_sweeper():
    store = MemoryStore()
    store.down = True
    assert execute(lambda _: JobOutcome(JobState.COMPLETE), store=store)[2] == ["unwritten"]


def test_a_job_of_an_unknown_kind_fails():
    store = MemoryStore()
    job = ClaimedJob(Lease(uuid4(), 1), "juggle", 1, 0, None)
    Execution(store, MemoryNodes(), {}, RetryPolicy(min), lambda *_: None).run(
        job, ExecutionControl(job.lease)
    )
    assert store.written[0][:2] == ("finish", JobState.FAILED)


def test_a_lost_lease_outranks_a_cancel():
    control = ExecutionControl(Lease(uuid4(), 1))
    control.end(Cancelled("by an operator"))
    control.end(LostLease("taken over"))
    with pytest.raises(LostLease):
        control.check()


def test_every_state_of_the_table_has_its_transitions_and_final_ones_have_none():
    assert {str(state) for state in TRANSITIONS} == set(JOB_STATES)
    assert all(not TRANSITIONS[state] for state in FINAL)
    assert all(TRANSITIONS[state] for state in set(TRANSITIONS) - FINAL)


def test_objects_that_are_refused_say_nothing_against_the_node():
    written, calls, endings = execute(raising(ObjectsRefused("1 of 2 were not taken")))
    assert written == [("refused", 5.0, "1 of 2 were not taken")]
    assert calls == [("succeeded", NODE.id)]
    assert endings == ["retry"]


def test_a_file_that_is_away_says_nothing_of_the_node():
    written, calls, _ = execute(raising(StoredFileAway("its file cannot be read")))
    assert written == [("refused", 5.0, "its file cannot be read")]
    assert calls == []
