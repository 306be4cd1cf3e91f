"""Carries out one delivery: to a node, into a folder, or as a task.

What an endpoint has is not sent to it again, by whichever delivery: of each object it has the
content that it has answered for last. The job is retried until the delivery is given up; each try
sends what is missing then.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

from pydantic import TypeAdapter, ValidationError

from draw_qr_worker.models import (
    AnsweredObject,
    ClaimedJob,
    HandedSeries,
    IndexedObject,
    InvalidJob,
    JobOutcome,
    JobState,
    Lease,
    Postponed,
    RemoteNode,
    StatusTransient,
)
from draw_qr_worker.ports.delivering import AnsweredObjectRepository, SeriesPlaces, TaskStarter
from draw_qr_worker.ports.sending import StoredObjectRepository, StorePeers
from draw_qr_worker.services.jobs import OF_OBJECTS, ExecutionControl
from draw_qr_worker.services.node_tests import node_of
from draw_qr_worker.services.priors import PriorsTask
from draw_qr_worker.services.progress import Progress
from draw_qr_worker.services.retrieve_plan import subject_of
from draw_qr_worker.services.shared_jobs import (
    AGAIN,
    DELETED_HERE,
    GONE,
    LACKING,
    deliveries_of,
    result_of_parts,
    say_not_sent,
)
from draw_qr_worker.services.store_answers import StoreAnswers, say_not_taken
from draw_shared.addresses import canonical
from draw_shared.dicom.network.peer_failures import (
    NotSupported,
    PeerBusy,
    PeerCongested,
    PeerRejected,
    Unreachable,
)
from draw_shared.errors import DrawError, Permanent, Transient
from draw_shared.routing.destinations import (
    CeleryDestination,
    FolderDestination,
    FolderPlace,
    LeafDestination,
    NodeDestination,
    PriorsDestination,
)
from draw_shared.wording import message

ANSWERS_PER_WRITE: Final = 20
SECONDS_PER_WRITE: Final = 0.25
"""What a peer has answered and nobody has written is sent again if this worker dies."""
MAX_HOPS: Final = 3
"""How often an endpoint gets an object from others than who has sent it first: a loop does so."""
UNKNOWN_CONTENT: Final = b""
"""Stands for the content of an object that an endpoint had, and that is being replaced there."""
TASK_NAMESPACE: Final = UUID("0f6a5c3e-51a0-5d0b-9a0e-6f5f4dfc7f11")
TARGET: Final[TypeAdapter[LeafDestination]] = TypeAdapter(LeafDestination)
GROWTH_INTERVAL: Final = timedelta(seconds=5)
"""How often it is looked whether what grows again is complete."""
GROWS: Final = message("it grows again, and is sent when it is complete")
DELETED: Final = JobOutcome(JobState.FAILED, {GONE: True}, DELETED_HERE)
OF_NODE: Final = (
    Unreachable,
    PeerBusy,
    PeerCongested,
    PeerRejected,
    NotSupported,
    StatusTransient,
)
"""Failures for which no single object can be at fault, unless they are among OF_OBJECTS."""


class DeliverTask:
    """Performs the jobs of deliveries."""

    def __init__(
        self,
        catalogue: StoredObjectRepository,
        answered: AnsweredObjectRepository,
        peers: StorePeers,
        places: SeriesPlaces,
        tasks: TaskStarter,
        priors: PriorsTask,
    ) -> None:
        self._catalogue = catalogue
        self._answered = answered
        self._peers = peers
        self._places = places
        self._tasks = tasks
        self._priors = priors

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Return complete when the target has everything, or a batch retrieves what is wanted.

        Raises:
            InvalidJob: the job does not say where to.
            StatusTransient: the node refused some objects.
            StoredFileAway: files of some objects cannot be read now.
            Postponed: more of it is arriving.
            Transient | Permanent: the target cannot be reached, or takes nothing now.
        """
        target = _target_of(job.parameters)
        objects = self._catalogue.objects(subject_of(job.parameters))
        if not objects:
            return DELETED
        _require_complete(job, objects)
        match target:
            case NodeDestination() | PriorsDestination() if job.node is None:
                return JobOutcome(
                    JobState.FAILED, {AGAIN: True}, message("the remote node was removed")
                )
            case NodeDestination():
                return self._send(job, objects, control)
            case PriorsDestination():
                return self._priors.run(job, target, control) or DELETED
            case FolderDestination():
                for _, series in groupby(objects, _series):
                    self._put(job, target, list(series), control)
            case CeleryDestination():
                self._start(job, target, objects, control)
            case _:
                raise InvalidJob(message("no worker delivers to %(kind)s", kind=target.kind))
        return JobOutcome(JobState.COMPLETE, _counts(len(objects), len(objects)))

    def give_up(self, job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return partial when the target has something of it, else failed, with the reason."""
        told = None if isinstance(error, InvalidJob) else _target_of(job.parameters)
        if job.node is None or not isinstance(told, NodeDestination):
            return JobOutcome(JobState.FAILED, _counts(0, 0), str(error))
        objects = self._catalogue.objects(subject_of(job.parameters))
        missing = _uids(self._missing(job.node, objects))
        there = len(objects) - len(missing)
        result = _counts(len(objects), there)
        together = deliveries_of(job)
        if together:
            came = {*_uids(objects)} - {*_uids(self._from_elsewhere(job.node, objects))}
            lacking = dict.fromkeys(missing, str(error))
            result |= result_of_parts(
                together, here=_uids(objects), came_from_there=came, lacking=lacking
            )
        return JobOutcome(JobState.PARTIAL if there else JobState.FAILED, result, str(error))

    def _put(
        self,
        job: ClaimedJob,
        place: FolderPlace,
        objects: Sequence[IndexedObject],
        control: ExecutionControl,
    ) -> Path:
        """Put the objects of a series into its folder, and keep what that got."""
        known = self._answers(place.path, objects)
        before = {uid: contents[-1].content_sha256 for uid, contents in known.items()}
        whole = not job.parameters.get("sop_instance_uids")
        delivery = int(job.parameters["delivery_id"])
        self._doubt(job.lease, place.path, [delivery] * len(objects), objects, known)
        series = HandedSeries(objects, before, whole)
        folder = self._places.put(place, series, _writer(job), control.check)
        new = [
            AnsweredObject(one.item.sop_instance_uid, one.content_sha256)
            for one in objects
            if before.get(one.item.sop_instance_uid) != one.content_sha256
        ]
        if new:
            self._answered.record(job.lease, place.path, [delivery] * len(new), new)
        return folder

    def _start(
        self,
        job: ClaimedJob,
        target: CeleryDestination,
        objects: Sequence[IndexedObject],
        control: ExecutionControl,
    ) -> None:
        """Start the task for each series, after its files are in its folder."""
        sequence = job.parameters.get("sequence")
        call = job.parameters["decision_id"] if sequence is None else sequence
        for series, found in groupby(objects, _series):
            members = list(found)
            place: Path | None = None
            if target.place is not None:
                place = self._put(job, target.place, members, control)
            self._tasks.start(
                uuid5(TASK_NAMESPACE, f"{call}:{series}"),
                target.task,
                target.queue,
                {
                    "study_instance_uid": members[0].item.study_instance_uid,
                    "series_instance_uid": series,
                    "folder": str(place) if place else None,
                    "instances": len(members),
                    "sequence": sequence,
                },
            )

    def _send(
        self, job: ClaimedJob, objects: Sequence[IndexedObject], control: ExecutionControl
    ) -> JobOutcome:
        node = node_of(job)
        tally = _DeliveryTally(self._answered, job, endpoint_of(node), _uids(objects), control)
        left = self._from_elsewhere(node, objects)
        tally.came_from_there = {*_uids(objects)} - {*_uids(left)}
        known = self._answers(endpoint_of(node), left)
        for one in left:
            before = known.get(one.item.sop_instance_uid, ())
            hop = _is_hop(node, one, before)
            if _has(before, one):
                tally.there.add(one.item.sop_instance_uid)
            elif hop and sum(each.hops for each in before) >= MAX_HOPS:
                tally.refuse_loop(one)
            else:
                tally.add_missing(one, hop=hop)
        deliveries = [tally.delivery_of(uid) for uid in _uids(tally.missing)]
        self._doubt(job.lease, endpoint_of(node), deliveries, tally.missing, known)
        try:
            try:
                if tally.missing:
                    self._peers.send(node, tally.missing, control, tally.count_answer)
            finally:
                tally.write()
            return tally.conclude()
        except (Transient, Permanent) as error:
            tally.separate(error)
            raise

    def _from_elsewhere(
        self, node: RemoteNode, objects: Sequence[IndexedObject]
    ) -> list[IndexedObject]:
        """Return the objects that did not come from the node itself."""
        if not any(one.calling_ae in _titles_of(node) for one in objects):
            return list(objects)
        addresses = self._peers.addresses(node)
        return [
            one
            for one in objects
            if one.calling_ae not in _titles_of(node)
            or canonical(one.peer_address) not in addresses
        ]

    def _missing(self, node: RemoteNode, objects: Sequence[IndexedObject]) -> list[IndexedObject]:
        known = self._answers(endpoint_of(node), objects)
        return [one for one in objects if not _has(known.get(one.item.sop_instance_uid, ()), one)]

    def _doubt(
        self,
        lease: Lease,
        endpoint: str,
        deliveries: Sequence[int],
        objects: Sequence[IndexedObject],
        known: Mapping[str, Sequence[AnsweredObject]],
    ) -> None:
        """Keep that nobody knows which content an endpoint has of what is about to be replaced.

        Else, if this execution does not come to write down that it was, an object that is corrected
        back meanwhile would count as there.
        """
        replaced = [
            (delivery, AnsweredObject(one.item.sop_instance_uid, UNKNOWN_CONTENT))
            for delivery, one in zip(deliveries, objects, strict=True)
            for before in (known.get(one.item.sop_instance_uid),)
            if before and before[-1].content_sha256 not in {one.content_sha256, UNKNOWN_CONTENT}
        ]
        if replaced:
            self._answered.record(
                lease, endpoint, [d for d, _ in replaced], [one for _, one in replaced]
            )

    def _answers(
        self, endpoint: str, objects: Sequence[IndexedObject]
    ) -> Mapping[str, Sequence[AnsweredObject]]:
        return self._answered.answered(endpoint, [one.item.sop_instance_uid for one in objects])


class _DeliveryTally:
    """A node's answers to one delivery, kept every few objects."""

    def __init__(
        self,
        answered: AnsweredObjectRepository,
        job: ClaimedJob,
        endpoint: str,
        here: Sequence[str],
        control: ExecutionControl,
    ) -> None:
        self._answered = answered
        self._job = job
        self._endpoint = endpoint
        self._here = here
        self._expected = len(here)
        self._together = deliveries_of(job)
        self._first = int(job.parameters["delivery_id"])
        self._control = control
        self._unwritten: list[AnsweredObject] = []
        self._written_at = time.monotonic()
        self._progress = Progress(control)
        self._answers = StoreAnswers()
        self.came_from_there: set[str] = set()
        self.there: set[str] = set()
        """What it had before, whoever brought it."""
        self.missing: list[IndexedObject] = []
        self._hops: set[str] = set()
        self._taken: set[str] = set()
        self._not_taken: dict[str, str] = {}
        """Why, by SOP Instance UID."""
        self._progress.expected = self._expected
        self._progress.show("sending")

    @property
    def delivered(self) -> int:
        """The objects that are there, whoever brought them."""
        return len(self.there) + len(self.came_from_there) + self._answers.taken

    def delivery_of(self, uid: str) -> int:
        """Return the delivery that brings an object."""
        return self._together.get(uid, self._first)

    def add_missing(self, one: IndexedObject, *, hop: bool) -> None:
        """Add an object that is to be sent; a hop if it may have come back changed."""
        self.missing.append(one)
        if hop:
            self._hops.add(one.item.sop_instance_uid)

    def refuse_loop(self, one: IndexedObject) -> None:
        """Count an object that has come back changed too often."""
        self._answers.failed += 1
        self._answers.words = message(
            "%(uid)s has gone there %(count)s times after others had changed it: two archives send"
            " it to each other and change it",
            uid=one.item.sop_instance_uid,
            count=MAX_HOPS,
        )
        self._not_taken[one.item.sop_instance_uid] = self._answers.words

    def count_answer(self, one: IndexedObject, status: int | None, reason: str = "") -> None:
        """Count one answer."""
        uid = one.item.sop_instance_uid
        if not self._answers.count(one, status, reason):
            self._not_taken[uid] = self._answers.words
        else:
            self._taken.add(uid)
            hop = uid in self._hops
            origin = None if hop else one.sender
            self._unwritten.append(
                AnsweredObject(uid, one.content_sha256, status or 0, origin, int(hop))
            )
        left = self._expected - self.delivered
        self._progress.update_counts(self._answers.counts(left))
        self._progress.update_arrived(self.delivered, self._answers.size_bytes)
        late = time.monotonic() - self._written_at > SECONDS_PER_WRITE
        if late or len(self._unwritten) >= ANSWERS_PER_WRITE:
            self.write()

    def write(self) -> None:
        """Keep what the node has answered for, so that nothing sends it again."""
        self._written_at = time.monotonic()
        if self._unwritten:
            deliveries = [self.delivery_of(one.sop_instance_uid) for one in self._unwritten]
            self._answered.record(self._job.lease, self._endpoint, deliveries, self._unwritten)
            self._unwritten = []

    def separate(self, error: DrawError) -> None:
        """Have deliveries that share the job go on one by one if an object may be at fault."""
        of_node = isinstance(error, OF_NODE) and not isinstance(error, OF_OBJECTS)
        away = of_node and not self._taken
        if self._together and not away and not self._control.ended():
            there = self.there | self._taken
            self._control.report(**{LACKING: [uid for uid in self._together if uid not in there]})

    def conclude(self) -> JobOutcome:
        """Return how the delivery ended."""
        result = _counts(self._expected, self.delivered) | {
            "came_from_there": len(self.came_from_there),
            "already_there": len(self.there),
            "warning": self._answers.warning,
            "bytes": self._answers.size_bytes,
        }
        lacking = self._expected - self.delivered
        if self._together:
            result |= self._result_of_parts()
        if not lacking:
            return JobOutcome(JobState.COMPLETE, result, self._say_not_sent())
        words = self._answers.say_lacking(lacking, self._expected)
        state = JobState.PARTIAL if self.delivered else JobState.FAILED
        return JobOutcome(state, result, words)

    def _result_of_parts(self) -> dict[str, Any]:
        there = self.there | self._taken | self.came_from_there
        lacking = {
            uid: say_not_taken(1, 1, self._not_taken.get(uid, ""))
            for uid in self._here
            if uid not in there
        }
        return result_of_parts(
            self._together,
            here=self._here,
            came_from_there=self.came_from_there,
            lacking=lacking,
        )

    def _say_not_sent(self) -> str:
        count = len(self.came_from_there)
        return say_not_sent(count, self._expected) if count else ""


def endpoint_of(node: RemoteNode) -> str:
    """Return by what a node's answers are known: its address, not its name."""
    return f"{node.ae_title}@{node.host}:{node.port}"


def _titles_of(node: RemoteNode) -> frozenset[str]:
    return frozenset((node.ae_title, *node.stores_from))


def _is_hop(node: RemoteNode, one: IndexedObject, before: Sequence[AnsweredObject]) -> bool:
    """Return whether an object may have come back changed, so that a loop is possible.

    Who has sent the first content of it here corrects it as often as he likes.
    """
    from_others = bool(before) and one.sender not in {each.origin for each in before}
    return from_others or one.calling_ae in _titles_of(node)


def _has(before: Sequence[AnsweredObject], one: IndexedObject) -> bool:
    """Return whether the present content of an object is what was answered for last."""
    return bool(before) and before[-1].content_sha256 == one.content_sha256


def _target_of(parameters: Mapping[str, Any]) -> LeafDestination:
    try:
        return TARGET.validate_python(parameters.get("target"))
    except ValidationError as error:
        raise InvalidJob(message("the job's parameters cannot be understood")) from error


def _require_complete(job: ClaimedJob, objects: Sequence[IndexedObject]) -> None:
    """Return unless the series or study grows again: half of its next generation would go too."""
    if not job.parameters.get("sop_instance_uids") and any(one.grows for one in objects):
        raise Postponed(job.now + GROWTH_INTERVAL, GROWS)


def _writer(job: ClaimedJob) -> str:
    """Return a name that no other writer into folders has, not even a later one of this job."""
    return f"{job.lease.job_id.hex}-{job.lease.fence}"


def _uids(objects: Sequence[IndexedObject]) -> list[str]:
    return [one.item.sop_instance_uid for one in objects]


def _series(one: IndexedObject) -> str:
    return one.item.series_instance_uid


def _counts(expected: int, delivered: int) -> dict[str, Any]:
    return {"expected": expected, "delivered": delivered}
