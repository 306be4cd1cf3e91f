"""Which jobs a worker claims beside those that run already.

Leases and stops are in tests/e2e and tests/faults.
"""

import threading
from uuid import uuid4

import pytest

from draw_qr_worker.models import ClaimedJob, Lease, RemoteNode
from draw_qr_worker.services.dispatch import MAX_JOBS_PER_SLOT, SILENT_SECONDS, JobDispatcher

NODE = RemoteNode(1, "pacs", "PACS", "192.0.2.17", 104)
SLOTS = 2


class EndlessJobs:
    """A queue that always has one more job of a kind, and an execution that takes until the end."""

    def __init__(self):
        self.kind, self.node = "deliver", NODE
        self.controls = []
        self._over = threading.Event()
        self._begun = threading.Semaphore(0)

    def claim(self, _job_id):
        return ClaimedJob(Lease(uuid4(), 1), self.kind, 1, 0, self.node)

    def run(self, _job, control):
        self.controls.append(control)
        self._begun.release()
        self._over.wait(30)

    def fall_silent(self, number):
        """Let the first jobs have made no progress for a while."""
        for control in self.controls[:number]:
            control.reported_at -= SILENT_SECONDS + 1

    def take_all(self, dispatcher):
        """Claim while the dispatcher does; return how many jobs run then."""
        while dispatcher.take():
            assert self._begun.acquire(timeout=30)
        return dispatcher.running

    def end(self):
        self._over.set()


@pytest.fixture
def jobs():
    endless = EndlessJobs()
    yield endless
    endless.end()


@pytest.fixture
def dispatcher(jobs):
    made = JobDispatcher(jobs, jobs, slots=SLOTS, lease_seconds=30)
    made.allow()
    return made


def test_deliveries_whose_nodes_are_silent_leave_their_slots_to_others(jobs, dispatcher):
    assert jobs.take_all(dispatcher) == SLOTS
    jobs.fall_silent(1)
    assert jobs.take_all(dispatcher) == SLOTS + 1
    # One that goes on takes its slot again.
    jobs.controls[0].report(arrived=1)
    assert not dispatcher.take()


def test_silent_deliveries_do_not_pile_up_without_end(jobs, dispatcher):
    for _ in range(3 * MAX_JOBS_PER_SLOT):
        jobs.take_all(dispatcher)
        jobs.fall_silent(len(jobs.controls))
    assert dispatcher.running == SLOTS * MAX_JOBS_PER_SLOT


@pytest.mark.parametrize(("kind", "node"), [("retrieve", NODE), ("deliver", None)])
def test_other_jobs_take_a_slot_however_silent_they_are(jobs, dispatcher, kind, node):
    jobs.kind, jobs.node = kind, node
    jobs.take_all(dispatcher)
    jobs.fall_silent(SLOTS)
    assert not dispatcher.take()
