"""Forwards indexed objects to a node by C-STORE; a later try sends only what is missing."""

from collections.abc import Sequence
from typing import Final

from draw_qr_worker.models import (
    ClaimedJob,
    IndexedObject,
    Item,
    JobOutcome,
    JobState,
    Lease,
    NothingThere,
)
from draw_qr_worker.ports.retrieving import ItemRepository
from draw_qr_worker.ports.sending import StoredObjectRepository, StorePeers
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.missing import conclude_failure, count_missing
from draw_qr_worker.services.node_tests import node_of
from draw_qr_worker.services.progress import Progress
from draw_qr_worker.services.retrieve_plan import subject_of
from draw_qr_worker.services.store_answers import StoreAnswers
from draw_shared.errors import DrawError
from draw_shared.wording import message

ANSWERS_PER_WRITE: Final = 50


class SendTask:
    """Sends a study, a series or SOP instances to a node."""

    def __init__(
        self, table: ItemRepository, catalogue: StoredObjectRepository, peers: StorePeers
    ) -> None:
        self._table = table
        self._catalogue = catalogue
        self._peers = peers

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Return complete when the node has accepted everything, else partial.

        Raises:
            NothingThere: the index holds nothing that the job names.
            StatusTransient: the node refused some objects.
            StoredFileAway: files of some objects cannot be read now.
        """
        node, subject = node_of(job), subject_of(job.parameters)
        objects = {one.item.sop_instance_uid: one for one in self._catalogue.objects(subject)}
        items = self._table.items(job.lease.job_id)
        if not items:
            if not objects:
                raise NothingThere(message("there is nothing of it here"))
            named = [one.item for one in objects.values()]
            items = self._table.record(job.lease, named, arrives_here=False, here_counts=False)
        tally = _AnswerTally(self._table, job.lease, Progress(control), items)
        left = [
            objects[item.sop_instance_uid]
            for item in items
            if not item.arrived and item.sop_instance_uid in objects
        ]
        try:
            if left:
                self._peers.send(node, left, control, tally.count_answer)
        finally:
            tally.write()
        return tally.conclude(len(items))

    def give_up(self, job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return partial when the node has accepted something, else failed, with the reason."""
        return conclude_failure(self._table.items(job.lease.job_id), error, all_named=True)


class _AnswerTally:
    """The node's answers, written to rows every few objects."""

    def __init__(
        self, table: ItemRepository, lease: Lease, progress: Progress, items: Sequence[Item]
    ) -> None:
        self._table = table
        self._lease = lease
        self._progress = progress
        self._unwritten: list[str] = []
        self._lacking = {item.sop_instance_uid for item in items if not item.arrived}
        self._answers = StoreAnswers()
        progress.expected = len(items)
        progress.already = len(items) - len(self._lacking)
        progress.show("sending")

    def count_answer(self, one: IndexedObject, status: int | None, reason: str = "") -> None:
        """Count one answer."""
        if self._answers.count(one, status, reason):
            self._lacking.discard(one.item.sop_instance_uid)
            self._unwritten.append(one.item.sop_instance_uid)
        self._progress.update_counts(self._answers.counts(len(self._lacking)))
        self._progress.update_arrived(
            self._progress.already + self._answers.taken, self._answers.size_bytes
        )
        if len(self._unwritten) >= ANSWERS_PER_WRITE:
            self.write()

    def write(self) -> None:
        """Mark the accepted objects, so that no later try sends them again."""
        if self._unwritten:
            self._table.mark_these(self._lease, self._unwritten)
            self._unwritten = []

    def conclude(self, expected: int) -> JobOutcome:
        """Return how the job ended."""
        result = count_missing(expected, sorted(self._lacking)) | {
            "completed": self._answers.completed,
            "failed": self._answers.failed,
            "warning": self._answers.warning,
            "bytes": self._answers.size_bytes,
        }
        if not self._lacking:
            return JobOutcome(JobState.COMPLETE, result)
        words = self._answers.say_lacking(len(self._lacking), expected)
        state = JobState.PARTIAL if len(self._lacking) < expected else JobState.FAILED
        return JobOutcome(state, result, words)
