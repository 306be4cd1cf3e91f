"""A retrieve from beginning to end: ask what to expect, fetch it, wait until it has arrived.

The expected SOP instances are rows (`retrieve_items`) before the fetch begins. A later try, even by
another worker, therefore requests only what has not arrived. An instance has arrived when the index
has it; if it was here before the job, its file must exist, too. When another node is the
destination, nobody here sees the arrival, and the peer's counts decide.

Concurrency: one job runs on one thread. By C-MOVE, the receiver and the indexer store the objects
in other processes; this thread polls the rows that the indexer marks. By C-GET, this thread itself
stores each object durably. If the worker dies, the association breaks and the job's lease expires.
Rows and stored objects remain; only this try's counts are lost.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from draw_qr_worker.models import (
    ClaimedJob,
    Fetched,
    InvalidJob,
    JobOutcome,
    JobState,
    RemoteNode,
    RemoteRetrieveEnd,
    SomeNotSent,
    Unlisted,
)
from draw_qr_worker.ports.retrieving import GetPeers, ItemRepository, MovePeers
from draw_qr_worker.services.conclusion import (
    EndedRequest,
    RetrieveStanding,
    compute_standing,
    conclude,
    doubt_of,
)
from draw_qr_worker.services.expectation import Expectation, Expectations
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.missing import MAX_NAMED, conclude_failure, count_missing, list_missing
from draw_qr_worker.services.node_tests import node_of
from draw_qr_worker.services.progress import Progress
from draw_qr_worker.services.query_models import needs_patient
from draw_qr_worker.services.retrieve_plan import (
    Method,
    PlannedRequest,
    RetrieveOrder,
    order_of,
    plan_missing,
    plan_whole,
)
from draw_shared.errors import DrawError
from draw_shared.wording import message

MAX_POLL_INTERVAL_SECONDS: Final = 0.5
MIN_POLL_INTERVAL_SECONDS: Final = 0.05
"""The index lags briefly: the first polls follow quickly, later ones slowly."""
SENT_WAIT_FACTOR: Final = 4
"""Multiplies the wait for objects that the node says it has sent: the index may lag."""
STORED_WAIT_FACTOR: Final = 20
"""Multiplies the wait for objects that we stored ourselves: they will reach the index."""


NOTHING_KNOWN: Final = Expectation(())


@dataclass(slots=True)
class _RetrieveRun:
    """The state of one execution."""

    job: ClaimedJob
    control: ExecutionControl
    node: RemoteNode
    order: RetrieveOrder
    progress: Progress
    by_get: bool
    elsewhere: bool
    expectation: Expectation = NOTHING_KNOWN
    now: RetrieveStanding = field(default_factory=lambda: compute_standing(NOTHING_KNOWN, (), {}))
    requested: list[EndedRequest] = field(default_factory=list)
    fetched: dict[str, dict[str, int]] = field(default_factory=dict)
    """Sizes of objects fetched by C-GET, by study and SOP Instance UID."""
    strays: set[str] = field(default_factory=set)
    """Studies of which C-GET brought objects that nobody requested."""
    stored: int = 0
    stored_bytes: int = 0
    arrived: int = 0
    polled_at: float = 0.0

    @property
    def job_id(self) -> UUID:
        return self.job.lease.job_id

    @property
    def here_counts(self) -> bool:
        """Whether a named SOP instance that was here before counts as arrived."""
        return not self.order.force and not self.elsewhere


class RetrieveTask:
    """Retrieves what a job names, by C-MOVE or C-GET."""

    def __init__(
        self,
        table: ItemRepository,
        expectations: Expectations,
        movers: MovePeers,
        getters: GetPeers,
        own_ae: Callable[[], str],
        *,
        arrival_seconds: float,
    ) -> None:
        self._table = table
        self._expectations = expectations
        self._movers = movers
        self._getters = getters
        self._own_ae = own_ae
        self._arrival_seconds = arrival_seconds

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Return complete, unproved, or partial with what did not arrive.

        Raises:
            NothingThere | InvalidJob: there is nothing to retrieve.
            StatusTransient: the node says that it could not send some objects.
        """
        node, order = node_of(job), order_of(job.parameters)
        by_get, elsewhere = self._choose_get(node, order), not self._arrives_here(job)
        run = _RetrieveRun(job, control, node, order, Progress(control), by_get, elsewhere)
        self._expect(run)
        if not run.now.nothing_left:
            run.progress.show("retrieving")
            for request in self._plan_requests(run):
                control.check()
                run.progress.next_request()
                end = self._get(run, request) if run.by_get else self._move(run, request)
                if end.counts.completed is None:
                    # Some nodes report counts only while they send, and not at the end.
                    end = replace(end, counts=run.progress.counts)
                run.requested.append(EndedRequest(request, end))
        if elsewhere:
            return self._conclude_from_counts(run)
        run.progress.show("arriving")
        self._wait(run)
        return self._conclude(run)

    def give_up(self, job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return partial when something has arrived, else failed, with the reason."""
        if isinstance(error, SomeNotSent):
            return error.outcome
        job_id = job.lease.job_id
        items = self._table.items(job_id)
        if items and self._arrives_here(job):
            self._table.count_arrivals(job_id, here_counts=not job.parameters.get("force", False))
            items = self._table.items(job_id)
        return conclude_failure(items, error, all_named=False)

    # Expecting

    def _expect(self, run: _RetrieveRun) -> None:
        """Ask the node what it has, even if an earlier try has asked: that list may be short."""
        run.progress.show("asking")
        run.expectation = self._expectations.expect(run.node, run.order.subject, run.control)
        items = self._table.record(
            run.job.lease,
            [item for study in run.expectation.studies for item in study.items],
            arrives_here=not run.elsewhere,
            here_counts=run.here_counts,
            none_of=run.expectation.unfit,
        )
        run.now = compute_standing(run.expectation, items, {})
        run.progress.expected = run.now.expected
        run.progress.already = sum(item.arrived for item in items)
        run.progress.update_arrived(run.progress.already, 0)

    def _plan_requests(self, run: _RetrieveRun) -> list[PlannedRequest]:
        subject = run.order.subject
        requests: list[PlannedRequest] = []
        # Items of an earlier try that the node no longer names cannot be compared: they are
        # missing.
        fitting = {study.study_instance_uid for study in run.expectation.studies}
        for study in run.now.studies:
            uid, surplus = study.expected.study_instance_uid, study.surplus
            if uid not in fitting:
                continue
            if study.expected.listed:
                asked = plan_missing(study.items, subject)
            else:
                # Only a request for the whole study brings unnamed instances.
                known = None if surplus is None else surplus + len(study.items)
                asked = [plan_whole(uid, study.items, subject, known)]
            if needs_patient(run.node):
                above = {"PatientID": study.expected.patient_id or subject.patient_id}
                asked = [replace(each, keys=above | dict(each.keys)) for each in asked]
            requests += asked
        return requests

    # Fetching

    def _choose_get(self, node: RemoteNode, order: RetrieveOrder) -> bool:
        method = order.method
        if method is Method.AUTO:
            prefer_get = node.supports_get and not node.supports_move and not order.destination
            method = Method.GET if prefer_get else Method.MOVE
        if method is Method.GET and order.destination not in {"", self._own_ae()}:
            raise InvalidJob(message("C-GET brings objects here and to no other destination"))
        offered = node.supports_get if method is Method.GET else node.supports_move
        if not offered:
            raise InvalidJob(message("the node is set up without C-%(method)s", method=method.name))
        return method is Method.GET

    def _move(self, run: _RetrieveRun, request: PlannedRequest) -> RemoteRetrieveEnd:
        destination = run.order.destination or run.node.move_destination or self._own_ae()
        return self._movers.move(
            run.node,
            request.level,
            request.keys,
            destination=destination,
            supervision=run.control,
            progress=run.progress.update_counts,
            alive=lambda: self._more_arrived(run),
        )

    def _get(self, run: _RetrieveRun, request: PlannedRequest) -> RemoteRetrieveEnd:
        wanted = {study.expected.study_instance_uid for study in run.now.studies}
        series = run.order.subject.series_instance_uid

        def stored(one: Fetched) -> None:
            if one.study_instance_uid not in wanted or series not in {"", one.series_instance_uid}:
                run.strays.add(one.study_instance_uid)
                return
            run.stored += 1
            run.stored_bytes += one.size_bytes
            of_study = run.fetched.setdefault(one.study_instance_uid, {})
            of_study[one.sop_instance_uid] = one.size_bytes
            run.progress.update_arrived(run.progress.already + run.stored, run.stored_bytes)

        return self._getters.get(
            run.node,
            request.level,
            request.keys,
            sop_classes=request.sop_classes,
            further_classes=request.further_classes,
            supervision=run.control,
            progress=run.progress.update_counts,
            stored=stored,
        )

    # Arriving

    def _arrives_here(self, job: ClaimedJob) -> bool:
        here = {"", self._own_ae(), job.node.move_destination if job.node else ""}
        return job.parameters.get("destination", "") in here

    def _poll(self, run: _RetrieveRun, *, items: bool = False) -> RetrieveStanding:
        """Return how far the job is; with `items`, also read which items have arrived."""
        run.polled_at = time.monotonic()
        found = self._table.count_arrivals(run.job_id, here_counts=run.here_counts)
        rows = [item for study in run.now.studies for item in study.items]
        if items or found.arrived == found.expected != sum(item.arrived for item in rows):
            rows = list(self._table.items(run.job_id))
        run.now = compute_standing(run.expectation, rows, self._read_unlisted(run))
        run.arrived = found.arrived + run.now.arrived - sum(item.arrived for item in rows)
        # Show what we stored ourselves as soon as it is durable.
        shown = max(run.arrived, run.progress.already + run.stored)
        run.progress.update_arrived(shown, max(found.size_bytes, run.stored_bytes))
        return run.now

    def _read_unlisted(self, run: _RetrieveRun) -> Mapping[str, Unlisted]:
        studies = [s for s in run.now.studies if not s.expected.listed]
        if not studies:
            return {}
        uids = [study.expected.study_instance_uid for study in studies]
        series = run.order.subject.series_instance_uid
        found = dict(self._table.unlisted(run.job_id, uids, series))
        for study in studies:
            uid = study.expected.study_instance_uid
            named = {item.sop_instance_uid for item in study.items}
            came = [n for sop, n in run.fetched.get(uid, {}).items() if sop not in named]
            there = found.get(uid, Unlisted(0, 0, 0))
            if len(came) > there.since:
                # They are durable here, though the index may have known them before.
                found[uid] = Unlisted(len(came), sum(came), max(there.here, len(came)))
        return found

    def _more_arrived(self, run: _RetrieveRun) -> bool:
        """Return whether objects have arrived since the last poll, at most twice a second."""
        if run.elsewhere or time.monotonic() - run.polled_at < MAX_POLL_INTERVAL_SECONDS:
            return False
        before = run.progress.arrived
        self._poll(run)
        return run.progress.arrived > before

    def _wait(self, run: _RetrieveRun) -> None:
        """Return when everything has arrived, or when nothing more has arrived for too long."""
        seen, quiet_since, pause = -1, time.monotonic(), MIN_POLL_INTERVAL_SECONDS
        while True:
            now = self._poll(run)
            if run.arrived > seen:
                seen, quiet_since = run.arrived, time.monotonic()
            told = run.progress.completed + run.progress.warning
            if run.arrived >= told and (now.over or (now.expected is None and told)):
                return
            if time.monotonic() - quiet_since >= self._quiet_seconds(run, max(seen, now.here)):
                return
            run.control.pause(pause)
            pause = min(1.4 * pause, MAX_POLL_INTERVAL_SECONDS)

    def _quiet_seconds(self, run: _RetrieveRun, seen: int) -> float:
        """Return how long to wait for a further object; longer if more objects surely come."""
        already, told = run.progress.already, run.progress.completed + run.progress.warning
        if already + run.stored > seen:
            return self._arrival_seconds * STORED_WAIT_FACTOR
        if not run.by_get and already + told > seen:
            return self._arrival_seconds * SENT_WAIT_FACTOR
        return self._arrival_seconds

    # Concluding

    def _conclude_from_counts(self, run: _RetrieveRun) -> JobOutcome:
        """Conclude from the peer's counts: nobody here sees what another node receives."""
        progress = run.progress
        failed = {uid for end in run.requested for uid in end.end.failed_sop_instance_uids}
        short = max(progress.failed, sum(each.short for each in run.requested), len(failed))
        counted = all(each.reported is not None for each in run.requested)
        lacking = set(list_missing(self._table.items(run.job_id)))
        if counted and len(failed) == short and failed <= lacking:
            # Otherwise nobody knows which of them were not sent.
            self._table.mark(run.job.lease, all_but=failed)
        items = self._table.items(run.job_id)
        progress.arrived = progress.already + progress.completed + progress.warning
        progress.show("over")
        result = self._result(run, list_missing(items), 0)
        if not counted and not progress.failed:
            words = message(
                "the node does not count what it sends; %(quote)s",
                quote=self._quote_node(run),
            )
            return JobOutcome(JobState.UNPROVED, result, words)
        if short:
            state = JobState.PARTIAL if progress.arrived else JobState.FAILED
            outcome = JobOutcome(
                state,
                result,
                message(
                    "%(short)s were not sent; %(quote)s",
                    short=short,
                    quote=self._quote_node(run),
                ),
            )
            if progress.failed:
                raise SomeNotSent(outcome)
            return outcome
        if run.expectation.lacking:
            return JobOutcome(JobState.PARTIAL, result, run.expectation.lacking)
        doubt = doubt_of(run.now, run.requested)
        if doubt:
            return JobOutcome(
                JobState.UNPROVED,
                result,
                message("nothing proves that this is all: %(doubt)s", doubt=doubt),
            )
        return JobOutcome(JobState.COMPLETE, result)

    def _conclude(self, run: _RetrieveRun) -> JobOutcome:
        now = self._poll(run, items=True)
        run.progress.arrived = now.arrived
        run.progress.show("over")
        state, words = conclude(now, run.requested, failed=run.progress.failed)
        unnamed = now.short - len(now.missing)
        outcome = JobOutcome(state, self._result(run, now.missing, unnamed), words)
        may_come = run.progress.failed or (
            run.job.gives_up_at is not None and state in {JobState.PARTIAL, JobState.FAILED}
        )
        if state is not JobState.COMPLETE and may_come:
            raise SomeNotSent(outcome)
        return outcome

    def _quote_node(self, run: _RetrieveRun) -> str:
        if not run.requested:
            return message("the node was not asked")
        return message("the node said: %(end)s", end=run.requested[-1].end.words)

    def _result(self, run: _RetrieveRun, lacking: Sequence[str], unnamed: int) -> dict[str, Any]:
        progress, unfit = run.progress, run.expectation.unfit
        return count_missing(progress.expected, lacking, unnamed) | {
            "arrived": progress.arrived,
            "already_here": progress.already,
            "completed": progress.completed,
            "failed": progress.failed,
            "warning": progress.warning,
            "bytes": progress.bytes,
            "node_said": run.requested[-1].end.words if run.requested else "",
            "not_asked_for": len(run.strays),
            "not_asked_for_study_instance_uids": sorted(run.strays)[:MAX_NAMED],
            "not_fetched": len(unfit),
            "not_fetched_study_instance_uids": list(unfit[:MAX_NAMED]),
        }
