"""A retrieve from beginning to end: what is expected, fetching it, seeing that it arrived.

Expected SOP instances are rows (`retrieve_items`) before anything is fetched, so every later
try, also by another worker, asks only for what has not arrived. Arrival means: the index has
it; of what was here before, that its file is there as well. What another node is to get cannot
be seen arriving; there the peer's counts decide.
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
    Requested,
    RetrieveStanding,
    concluded,
    doubt_of,
    standing,
)
from draw_qr_worker.services.expectation import Expectation, Expectations
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.missing import MOST_NAMED, given_up, not_arrived, numbers
from draw_qr_worker.services.node_tests import node_of
from draw_qr_worker.services.progress import Progress
from draw_qr_worker.services.query_models import needs_patient
from draw_qr_worker.services.retrieve_plan import (
    Method,
    PlannedRequest,
    RetrieveOrder,
    missing,
    order_of,
    whole,
)
from draw_shared.errors import DrawError

LOOK_SECONDS: Final = 0.5
FIRST_LOOK_SECONDS: Final = 0.05
"""The index is a moment behind: the first looks follow quickly, later ones at leisure."""
TOLD_PATIENCE: Final = 4
"""So many times the patience for what the node says it has sent; the index may be behind."""
STORED_PATIENCE: Final = 20
"""And for what we have stored ourselves: it is on its way to the index."""


NOTHING_KNOWN: Final = Expectation(())


@dataclass(slots=True)
class _Run:
    """One execution and what it knows so far."""

    job: ClaimedJob
    control: ExecutionControl
    node: RemoteNode
    order: RetrieveOrder
    progress: Progress
    by_get: bool
    elsewhere: bool
    expectation: Expectation = NOTHING_KNOWN
    now: RetrieveStanding = field(default_factory=lambda: standing(NOTHING_KNOWN, (), {}))
    requested: list[Requested] = field(default_factory=list)
    fetched: dict[str, dict[str, int]] = field(default_factory=dict)
    """Sizes of what came by C-GET, by study and SOP Instance UID."""
    strays: set[str] = field(default_factory=set)
    """Studies of which something came by C-GET although nobody asked for it."""
    stored: int = 0
    stored_bytes: int = 0
    arrived: int = 0
    looked_at: float = 0.0

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
        """Return complete, unproved, or partial with what did not come.

        Raises:
            NothingThere | InvalidJob: there is nothing to retrieve.
            StatusTransient: the node says that some could not be sent.
        """
        node, order = node_of(job), order_of(job.parameters)
        by_get, elsewhere = self._by_get(node, order), not self._arrives_here(job)
        run = _Run(job, control, node, order, Progress(control), by_get, elsewhere)
        self._expect(run)
        if not run.now.nothing_left:
            run.progress.show("retrieving")
            for request in self._requests(run):
                control.check()
                run.progress.next_request()
                end = self._get(run, request) if run.by_get else self._move(run, request)
                if end.counts.completed is None:
                    # Some nodes count while they send and not at the end.
                    end = replace(end, counts=run.progress.counts)
                run.requested.append(Requested(request, end))
        if elsewhere:
            return self._told(run)
        run.progress.show("arriving")
        self._wait(run)
        return self._outcome(run)

    def give_up(self, job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return partial when something has arrived, else failed, with the reason."""
        if isinstance(error, SomeNotSent):
            return error.outcome
        job_id = job.lease.job_id
        items = self._table.items(job_id)
        if items and self._arrives_here(job):
            self._table.look(job_id, here_counts=not job.parameters.get("force", False))
            items = self._table.items(job_id)
        return given_up(items, error, all_named=False)

    # What is expected

    def _expect(self, run: _Run) -> None:
        """Ask the node what there is, also when an earlier try has asked: a list may be short."""
        run.progress.show("asking")
        run.expectation = self._expectations.of(run.node, run.order.subject, run.control)
        items = self._table.record(
            run.job.lease,
            [item for study in run.expectation.studies for item in study.items],
            arrives_here=not run.elsewhere,
            here_counts=run.here_counts,
            none_of=run.expectation.unfit,
        )
        run.now = standing(run.expectation, items, {})
        run.progress.expected = run.now.expected
        run.progress.already = sum(item.arrived for item in items)
        run.progress.seen(run.progress.already, 0)

    def _requests(self, run: _Run) -> list[PlannedRequest]:
        subject = run.order.subject
        requests: list[PlannedRequest] = []
        # What an earlier try named and the node does not name now cannot be compared: it lacks.
        fitting = {study.study_instance_uid for study in run.expectation.studies}
        for study in run.now.studies:
            uid, surplus = study.expected.study_instance_uid, study.surplus
            if uid not in fitting:
                continue
            if study.expected.listed:
                asked = missing(study.items, subject)
            else:
                # Only the whole brings what was not named.
                known = None if surplus is None else surplus + len(study.items)
                asked = [whole(uid, study.items, subject, known)]
            if needs_patient(run.node):
                above = {"PatientID": study.expected.patient_id or subject.patient_id}
                asked = [replace(each, keys=above | dict(each.keys)) for each in asked]
            requests += asked
        return requests

    # Fetching

    def _by_get(self, node: RemoteNode, order: RetrieveOrder) -> bool:
        method = order.method
        if method is Method.AUTO:
            prefer_get = node.supports_get and not node.supports_move and not order.destination
            method = Method.GET if prefer_get else Method.MOVE
        if method is Method.GET and order.destination not in {"", self._own_ae()}:
            raise InvalidJob("C-GET brings objects here and to no other destination")
        offered = node.supports_get if method is Method.GET else node.supports_move
        if not offered:
            raise InvalidJob(f"the node is set up without C-{method.name}")
        return method is Method.GET

    def _move(self, run: _Run, request: PlannedRequest) -> RemoteRetrieveEnd:
        destination = run.order.destination or run.node.move_destination or self._own_ae()
        return self._movers.move(
            run.node,
            request.level,
            request.keys,
            destination=destination,
            supervision=run.control,
            progress=run.progress.told,
            alive=lambda: self._more_arrived(run),
        )

    def _get(self, run: _Run, request: PlannedRequest) -> RemoteRetrieveEnd:
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
            run.progress.seen(run.progress.already + run.stored, run.stored_bytes)

        return self._getters.get(
            run.node,
            request.level,
            request.keys,
            sop_classes=request.sop_classes,
            further_classes=request.further_classes,
            supervision=run.control,
            progress=run.progress.told,
            stored=stored,
        )

    # Arriving

    def _arrives_here(self, job: ClaimedJob) -> bool:
        here = {"", self._own_ae(), job.node.move_destination if job.node else ""}
        return job.parameters.get("destination", "") in here

    def _look(self, run: _Run, *, items: bool = False) -> RetrieveStanding:
        """Return how far the job is by now; with `items` also which of them have arrived."""
        run.looked_at = time.monotonic()
        found = self._table.look(run.job_id, here_counts=run.here_counts)
        rows = [item for study in run.now.studies for item in study.items]
        if items or found.arrived == found.expected != sum(item.arrived for item in rows):
            rows = list(self._table.items(run.job_id))
        run.now = standing(run.expectation, rows, self._unlisted(run))
        run.arrived = found.arrived + run.now.arrived - sum(item.arrived for item in rows)
        # What we stored ourselves is shown as soon as it is durable.
        shown = max(run.arrived, run.progress.already + run.stored)
        run.progress.seen(shown, max(found.size_bytes, run.stored_bytes))
        return run.now

    def _unlisted(self, run: _Run) -> Mapping[str, Unlisted]:
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
                # Durable here, though the index may know them from before.
                found[uid] = Unlisted(len(came), sum(came), max(there.here, len(came)))
        return found

    def _more_arrived(self, run: _Run) -> bool:
        """Return whether objects have arrived since the last look, at most twice a second."""
        if run.elsewhere or time.monotonic() - run.looked_at < LOOK_SECONDS:
            return False
        before = run.progress.arrived
        self._look(run)
        return run.progress.arrived > before

    def _wait(self, run: _Run) -> None:
        """Return when everything has arrived, or nothing more has for a while."""
        seen, quiet_since, pause = -1, time.monotonic(), FIRST_LOOK_SECONDS
        while True:
            now = self._look(run)
            if run.arrived > seen:
                seen, quiet_since = run.arrived, time.monotonic()
            told = run.progress.completed + run.progress.warning
            if run.arrived >= told and (now.over or (now.expected is None and told)):
                return
            if time.monotonic() - quiet_since >= self._patience(run, max(seen, now.here)):
                return
            run.control.pause(pause)
            pause = min(1.4 * pause, LOOK_SECONDS)

    def _patience(self, run: _Run, seen: int) -> float:
        """Return how long nothing more may arrive, by how sure it is that more will."""
        already, told = run.progress.already, run.progress.completed + run.progress.warning
        if already + run.stored > seen:
            return self._arrival_seconds * STORED_PATIENCE
        if not run.by_get and already + told > seen:
            return self._arrival_seconds * TOLD_PATIENCE
        return self._arrival_seconds

    # What came of it

    def _told(self, run: _Run) -> JobOutcome:
        """Conclude from the peer's counts: nobody here sees what another node gets."""
        progress = run.progress
        failed = {uid for end in run.requested for uid in end.end.failed_sop_instance_uids}
        short = max(progress.failed, sum(each.short for each in run.requested), len(failed))
        counted = all(each.told is not None for each in run.requested)
        lacking = set(not_arrived(self._table.items(run.job_id)))
        if counted and len(failed) == short and failed <= lacking:
            # Else it is not known which of them were not sent.
            self._table.mark(run.job.lease, all_but=failed)
        items = self._table.items(run.job_id)
        progress.arrived = progress.already + progress.completed + progress.warning
        progress.show("over")
        result = self._result(run, not_arrived(items), 0)
        if not counted and not progress.failed:
            words = f"the node does not count what it sends; {self._words(run)}"
            return JobOutcome(JobState.UNPROVED, result, words)
        if short:
            state = JobState.PARTIAL if progress.arrived else JobState.FAILED
            outcome = JobOutcome(state, result, f"{short} were not sent; {self._words(run)}")
            if progress.failed:
                raise SomeNotSent(outcome)
            return outcome
        if run.expectation.lacking:
            return JobOutcome(JobState.PARTIAL, result, run.expectation.lacking)
        doubt = doubt_of(run.now, run.requested)
        if doubt:
            return JobOutcome(
                JobState.UNPROVED, result, f"nothing proves that this is all: {doubt}"
            )
        return JobOutcome(JobState.COMPLETE, result)

    def _outcome(self, run: _Run) -> JobOutcome:
        now = self._look(run, items=True)
        run.progress.arrived = now.arrived
        run.progress.show("over")
        state, words = concluded(now, run.requested, failed=run.progress.failed)
        unnamed = now.short - len(now.missing)
        outcome = JobOutcome(state, self._result(run, now.missing, unnamed), words)
        if state is not JobState.COMPLETE and run.progress.failed:
            raise SomeNotSent(outcome)
        return outcome

    def _words(self, run: _Run) -> str:
        if not run.requested:
            return "the node was not asked"
        return f"the node said: {run.requested[-1].end.words}"

    def _result(self, run: _Run, lacking: Sequence[str], unnamed: int) -> dict[str, Any]:
        progress, unfit = run.progress, run.expectation.unfit
        return numbers(progress.expected, lacking, unnamed) | {
            "arrived": progress.arrived,
            "already_here": progress.already,
            "completed": progress.completed,
            "failed": progress.failed,
            "warning": progress.warning,
            "bytes": progress.bytes,
            "node_said": run.requested[-1].end.words if run.requested else "",
            "not_asked_for": len(run.strays),
            "not_asked_for_study_instance_uids": sorted(run.strays)[:MOST_NAMED],
            "not_fetched": len(unfit),
            "not_fetched_study_instance_uids": list(unfit[:MOST_NAMED]),
        }
