"""A retrieve from beginning to end: what is expected, fetching it, seeing that it arrived.

Expected SOP instances are rows (`retrieve_items`) before anything is fetched, so every later
try, also by another worker, asks only for what has not arrived. Arrival means: the index has
it. What another node is to get cannot be seen arriving; there the peer's counts decide.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from draw_qr_worker.models import (
    Arrivals,
    ClaimedJob,
    InvalidJob,
    Item,
    JobState,
    Keys,
    Lease,
    Node,
    Outcome,
    RetrieveEnd,
    StatusTransient,
    Subject,
    SubOperationCounts,
    Supervision,
)
from draw_qr_worker.services.expectation import Expectation, Expectations
from draw_qr_worker.services.jobs import Control
from draw_qr_worker.services.missing import given_up, not_arrived, numbers
from draw_qr_worker.services.node_tests import node_of
from draw_qr_worker.services.progress import Progress
from draw_qr_worker.services.retrieve_plan import (
    Method,
    Order,
    Request,
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


class ItemTable(Protocol):
    """The rows of what jobs expect."""

    def items(self, job_id: UUID) -> Sequence[Item]:
        """Return what the job expects."""

    def record(
        self, lease: Lease, items: Sequence[Item], *, arrives_here: bool, here_counts: bool
    ) -> Sequence[Item]:
        """Keep what is expected and return it; what the index has counts as arrived, or not."""

    def look(self, job_id: UUID) -> Arrivals:
        """Mark what the index has by now, and return the numbers."""

    def mark(self, lease: Lease, *, all_but: Collection[str]) -> None:
        """Mark everything but these SOP instances as arrived."""

    def indexed(self, studies: Sequence[str], series: str) -> Arrivals:
        """Return how many instances of these studies, or of one series, the index has."""


class MovePeers(Protocol):
    """Has nodes send."""

    def move(
        self,
        node: Node,
        level: str,
        keys: Keys,
        *,
        destination: str,
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        alive: Callable[[], bool],
    ) -> RetrieveEnd:
        """Have the node send to `destination`; `alive` says whether objects keep arriving."""


class GetPeers(Protocol):
    """Fetches over our own association."""

    def get(
        self,
        node: Node,
        level: str,
        keys: Keys,
        *,
        sop_classes: Collection[str],
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        stored: Callable[[int], None],
    ) -> RetrieveEnd:
        """Fetch into our storage; `stored` is told the size of each object."""


NOTHING_KNOWN: Final = Expectation(())


@dataclass(slots=True)
class _Run:
    """One execution and what it knows so far."""

    job: ClaimedJob
    control: Control
    node: Node
    order: Order
    progress: Progress
    by_get: bool
    expectation: Expectation = NOTHING_KNOWN
    items: Sequence[Item] = ()
    ends: list[RetrieveEnd] = field(default_factory=list)
    stored: int = 0
    stored_bytes: int = 0
    indexed: int = 0
    looked_at: float = 0.0

    @property
    def job_id(self) -> UUID:
        return self.job.lease.job_id


class RetrieveTask:
    """Retrieves what a job names, by C-MOVE or C-GET."""

    def __init__(
        self,
        table: ItemTable,
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

    def run(self, job: ClaimedJob, control: Control) -> Outcome:
        """Return complete, or partial with what did not come.

        Raises:
            NothingThere | InvalidJob: there is nothing to retrieve.
            StatusTransient: the node says that some could not be sent.
        """
        node, order = node_of(job), order_of(job.parameters)
        run = _Run(job, control, node, order, Progress(control), self._by_get(node, order))
        self._expect(run)
        if self._nothing_left(run):
            return self._outcome(run)
        run.progress.show("retrieving")
        for request in self._requests(run):
            control.check()
            run.progress.next_request()
            run.ends.append(self._get(run, request) if run.by_get else self._move(run, request))
        if self._elsewhere(run):
            return self._told(run)
        run.progress.show("arriving")
        self._wait(run)
        return self._concluded(run)

    def give_up(self, job: ClaimedJob, error: DrawError) -> Outcome:
        """Return partial when something has arrived, else failed, with the reason."""
        items = self._table.items(job.lease.job_id)
        if items and self._arrives_here(job):
            self._table.look(job.lease.job_id)
            items = self._table.items(job.lease.job_id)
        return given_up(items, error)

    # What is expected

    def _expect(self, run: _Run) -> None:
        run.progress.show("asking")
        run.items = self._table.items(run.job_id)
        if run.items:
            if not run.order.force and not self._elsewhere(run):
                self._table.look(run.job_id)
                run.items = self._table.items(run.job_id)
            studies = dict.fromkeys(item.study_instance_uid for item in run.items)
            run.expectation = Expectation(tuple(studies), tuple(run.items), len(run.items))
        else:
            subject = run.order.subject
            run.expectation = self._expectations.of(run.node, subject, run.control)
            if run.expectation.items:
                run.items = self._table.record(
                    run.job.lease,
                    run.expectation.items,
                    arrives_here=not self._elsewhere(run),
                    here_counts=not run.order.force,
                )
        run.progress.expected = run.expectation.count
        run.progress.already = sum(item.arrived for item in run.items)
        run.progress.seen(run.progress.already, 0)

    def _nothing_left(self, run: _Run) -> bool:
        """Return whether everything is here already."""
        if run.items:
            return all(item.arrived for item in run.items)
        if run.expectation.count is None or run.order.force or self._elsewhere(run):
            return False
        here = self._indexed(run)
        run.progress.already = here.arrived
        return here.arrived >= run.expectation.count

    def _requests(self, run: _Run) -> list[Request]:
        subject = run.order.subject
        if run.items:
            requests = missing(run.items, subject)
        else:
            studies = run.expectation.studies
            named = [subject if subject.study_instance_uid else Subject(s) for s in studies]
            requests = [request for each in named for request in whole(each)]
        if run.node.query_model == "patient" and subject.patient_id:
            above = {"PatientID": subject.patient_id}
            return [Request(r.level, above | dict(r.keys), r.sop_classes) for r in requests]
        return requests

    # Fetching

    def _by_get(self, node: Node, order: Order) -> bool:
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

    def _move(self, run: _Run, request: Request) -> RetrieveEnd:
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

    def _get(self, run: _Run, request: Request) -> RetrieveEnd:
        def stored(size: int) -> None:
            run.stored += 1
            run.stored_bytes += size
            run.progress.seen(run.progress.already + run.stored, run.stored_bytes)

        return self._getters.get(
            run.node,
            request.level,
            request.keys,
            sop_classes=request.sop_classes,
            supervision=run.control,
            progress=run.progress.told,
            stored=stored,
        )

    # Arriving

    def _elsewhere(self, run: _Run) -> bool:
        return not self._arrives_here(run.job)

    def _arrives_here(self, job: ClaimedJob) -> bool:
        here = {"", self._own_ae(), job.node.move_destination if job.node else ""}
        return job.parameters.get("destination", "") in here

    def _indexed(self, run: _Run) -> Arrivals:
        return self._table.indexed(run.expectation.studies, run.order.subject.series_instance_uid)

    def _look(self, run: _Run) -> Arrivals:
        run.looked_at = time.monotonic()
        found = self._table.look(run.job_id) if run.items else self._indexed(run)
        run.indexed = found.arrived
        # What we stored ourselves is shown as soon as it is durable.
        shown = max(found.arrived, run.progress.already + run.stored)
        run.progress.seen(shown, max(found.size_bytes, run.stored_bytes))
        return found

    def _more_arrived(self, run: _Run) -> bool:
        """Return whether objects have arrived since the last look, at most twice a second."""
        if self._elsewhere(run) or time.monotonic() - run.looked_at < LOOK_SECONDS:
            return False
        if run.order.force:
            # All of it may be here from before: what is seen says nothing.
            return False
        before = run.progress.arrived
        return self._look(run).arrived > before

    def _wait(self, run: _Run) -> None:
        """Return when everything has arrived, or nothing more has for a while."""
        expected = run.expectation.count
        seen, quiet_since, pause = -1, time.monotonic(), FIRST_LOOK_SECONDS
        while True:
            found = self._look(run)
            if found.arrived > seen:
                seen, quiet_since = found.arrived, time.monotonic()
            if expected is not None and seen >= expected:
                return
            told = run.progress.completed + run.progress.warning
            if expected is None and 0 < told <= seen:
                return
            if time.monotonic() - quiet_since >= self._patience(run, seen):
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

    def _told(self, run: _Run) -> Outcome:
        """Conclude from the peer's counts: nobody here sees what another node gets."""
        progress = run.progress
        failed = {uid for end in run.ends for uid in end.failed_sop_instance_uids}
        done = progress.completed + progress.warning
        complete = progress.failed == 0 and done >= (progress.expected or 0)
        if run.items and (complete or failed):
            self._table.mark(run.job.lease, all_but=failed)
            run.items = self._table.items(run.job_id)
        progress.arrived = done
        if complete:
            return Outcome(JobState.COMPLETE, self._result(run, []))
        short = max(progress.failed, (progress.expected or 0) - done)
        words = f"{short} were not sent; {self._words(run)}"
        if progress.failed:
            raise StatusTransient(words)
        return Outcome(JobState.PARTIAL, self._result(run, not_arrived(run.items)), words)

    def _concluded(self, run: _Run) -> Outcome:
        if run.items:
            run.items = self._table.items(run.job_id)
        outcome = self._outcome(run)
        if outcome.state is JobState.PARTIAL and run.progress.failed:
            raise StatusTransient(outcome.error)
        return outcome

    def _outcome(self, run: _Run) -> Outcome:
        lacking = not_arrived(run.items)
        run.progress.arrived = (
            len(run.items) - len(lacking) if run.items else max(run.indexed, run.progress.already)
        )
        result = self._result(run, lacking)
        run.progress.show("over")
        short = len(lacking)
        if not run.items and run.progress.expected is not None:
            short = max(0, run.progress.expected - run.progress.arrived)
        elif not run.items:
            short = run.progress.failed
            if not run.progress.arrived:
                return Outcome(JobState.FAILED, result, f"nothing arrived; {self._words(run)}")
        if not short:
            return Outcome(JobState.COMPLETE, result)
        expected = run.progress.expected
        words = f"{short} of {expected if expected is not None else 'the objects'} did not arrive"
        return Outcome(JobState.PARTIAL, result, f"{words}; {self._words(run)}")

    def _words(self, run: _Run) -> str:
        return f"the node said: {run.ends[-1].words}" if run.ends else "the node was not asked"

    def _result(self, run: _Run, lacking: Sequence[str]) -> dict[str, Any]:
        progress = run.progress
        return numbers(progress.expected, lacking) | {
            "arrived": progress.arrived,
            "already_here": progress.already,
            "completed": progress.completed,
            "failed": progress.failed,
            "warning": progress.warning,
            "bytes": progress.bytes,
            "node_said": run.ends[-1].words if run.ends else "",
        }
