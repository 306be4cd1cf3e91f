"""Creates, shows and cancels jobs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import TypeAdapter

from draw_api.models.jobs import FINISHED, Job, JobWithAttempts, NewJob, NewSend, NodeTests
from draw_api.models.paging import Page
from draw_api.ports.jobs import JobRepository
from draw_api.ports.wakeups import WakeUps
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.contracts.job import JobReadyV1
from draw_shared.wording import message

TEST_PRIORITY: Final = 1
RETRIED: Final = ("send", "echo", "probe")
"""Kinds of jobs that can be queued once more as they were."""
NEW_JOB: Final = TypeAdapter[NewJob](NewJob)
HASTENED: Final = ("retry", "node_failing")
"""Reasons of waiting that are over when somebody has seen to the node."""
MAX_COUNTED: Final = 500
"""Jobs of one state that are counted."""


class JobService:
    """Manages jobs for operators."""

    def __init__(self, table: JobRepository, wakeups: WakeUps, audit: AuditTrail) -> None:
        self._table = table
        self._wakeups = wakeups
        self._audit = audit

    def create(self, by: Principal, job: NewJob) -> JobWithAttempts:
        """Queue a job; a worker starts it at once, or at its start time.

        Raises:
            Invalid: there is no such node, or it is switched off.
        """
        active = self._table.node_is_active(job.node_id)
        if active is None:
            raise Invalid([FieldProblem("node_id", message("there is no such remote node"))])
        if not active:
            raise Invalid([FieldProblem("node_id", message("this remote node is switched off"))])
        job_id = self._table.add(job, by.actor)
        sent = job.study_instance_uid if isinstance(job, NewSend) else None
        detail = f"{job.kind} {job_id} node {job.node_id}"
        self._audit.record(by, "job.create", detail, study_instance_uid=sent)
        if job.not_before is None:
            self._wakeups.after_commit(JobReadyV1(job_id=job_id))
        return self.job(job_id)

    def test_all(self, by: Principal) -> NodeTests:
        """Queue a C-ECHO to each remote node in use, unless it is being tested already."""
        added = self._table.add_echoes(TEST_PRIORITY, by.actor)
        self._audit.record(by, "job.create", message("echo to %(number)s nodes", number=len(added)))
        for job_id in added:
            self._wakeups.after_commit(JobReadyV1(job_id=job_id))
        return NodeTests(queued=len(added))

    def jobs(
        self, state: str | None, node_id: int | None, cursor: str | None, limit: int
    ) -> Page[Job]:
        """Return a page of jobs, last created first."""
        return self._table.jobs(state, node_id, cursor, limit)

    def retry(self, by: Principal, job_id: UUID) -> JobWithAttempts:
        """Queue what a job was to do once more; one that waits after failures begins at once.

        Raises:
            NotFound: there is no such job.
            Conflict: it is not over, has done everything, or nobody can ask for it again.
            Invalid: its node is switched off.
        """
        before = self.job(job_id)
        if before.wait is not None and before.wait.reason in HASTENED:
            return self._hasten(by, job_id)
        if before.state not in FINISHED:
            raise Conflict(message("The job is not over yet."))
        if before.state == "complete":
            raise Conflict(message("Nothing is missing."))
        if before.kind not in RETRIED:
            raise Conflict(message("This kind of job cannot be retried: ask again where it began."))
        if before.node_id is None:
            raise Conflict(message("The remote node of this job was deleted."))
        asked = {"kind": before.kind, "node_id": before.node_id, "priority": before.priority}
        again = self.create(by, NEW_JOB.validate_python(before.parameters | asked))
        self._table.set_retried([job_id], again.id)
        return again

    def _hasten(self, by: Principal, job_id: UUID) -> JobWithAttempts:
        self._table.hasten(job_id)
        self._audit.record(by, "job.retry", str(job_id))
        self._wakeups.after_commit(JobReadyV1(job_id=job_id))
        return self.job(job_id)

    def needy(self, states: Sequence[str], since: datetime, most: int) -> Sequence[Job]:
        """Return the newest jobs of these states, created since then, that need somebody."""
        return self._table.needy(states, since, most)

    def numbers(self, states: Sequence[str], since: datetime) -> Mapping[str, int]:
        """Return how many of those there are in each state, each up to some hundreds."""
        return self._table.number(states, since, MAX_COUNTED)

    def job(self, job_id: UUID) -> JobWithAttempts:
        """Return one job with all its attempts.

        Raises:
            NotFound: there is no such job.
        """
        found = self._table.job(job_id)
        if found is None:
            raise NotFound(message("There is no such job."))
        return found

    def cancel(self, by: Principal, job_id: UUID) -> JobWithAttempts:
        """Cancel a job; its worker ends a running one as soon as it can.

        Raises:
            NotFound: there is no such job.
            Conflict: it has already ended.
        """
        before = self._table.cancel(job_id)
        if before is None:
            raise NotFound(message("There is no such job."))
        if before in FINISHED:
            raise Conflict(message("The job is already %(before)s.", before=before))
        self._audit.record(by, "job.cancel", str(job_id))
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.JOB, job_id=job_id))
        return self.job(job_id)
