"""The worker's values: nodes, claimed jobs, outcomes and failures.

`draw_shared.dicom.network.peer_failures` defines how peers fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from time import monotonic
from typing import Any, Final
from uuid import UUID

from draw_shared.errors import DrawError, Permanent, Transient
from draw_shared.wording import message

WINDOW_CLOSED: Final = message("the job's window is closed")


class JobKind(StrEnum):
    """What a job does."""

    ECHO = "echo"
    PROBE = "probe"
    FIND = "find"
    BATCH_FIND = "batch_find"
    RETRIEVE = "retrieve"
    SEND = "send"
    DELIVER = "deliver"


TESTS = (JobKind.ECHO, JobKind.PROBE)
"""Kinds that test a node for an operator: pause, window and circuit never hold them back."""


class JobState(StrEnum):
    """A job's state; the names are those of `jobs.state`."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    COMPLETE = "complete"
    UNPROVED = "unproved"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NodeWindow:
    """A weekly span in which a node may be used; `start` after `end` runs past midnight."""

    days: frozenset[int]
    start: time
    end: time


@dataclass(frozen=True, slots=True)
class Circuit:
    """A node's failures in a row, and until when we do not call it."""

    failures: int = 0
    open_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Congestion:
    """How many associations a congested node accepts for now.

    `refusals` counts those in a row that came while none of our own associations was open; after
    such a refusal we leave the node alone until `rest_until`.
    """

    limit: int
    changed_at: datetime
    refusals: int = 0
    rest_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RemoteNode:
    """A remote application entity, as its row describes it."""

    id: int
    name: str
    ae_title: str
    host: str
    port: int
    calling_ae: str = ""
    supports_find: bool = True
    supports_move: bool = True
    supports_get: bool = False
    query_model: str = "study"
    timeout_seconds: int = 30
    max_pdu_bytes: int = 16384
    move_destination: str = ""
    stores_from: tuple[str, ...] = ()
    tls: bool = False
    tls_fingerprint: str = ""
    max_associations: int = 2
    max_bytes_per_second: int = 0
    windows: tuple[NodeWindow, ...] = ()
    paused: bool = False
    active: bool = True
    circuit: Circuit = Circuit()
    congestion: Congestion | None = None
    capabilities: Mapping[str, Any] = field(default_factory=dict)


class NodeTestStep(StrEnum):
    """One step of the test of a node, in the order in which they are taken."""

    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    ASSOCIATION = "association"
    ECHO = "echo"
    FIND = "find"


class StepOutcome(StrEnum):
    """How a step of a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a job; a successor raises the fence."""

    job_id: UUID
    fence: int


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that this worker is executing."""

    lease: Lease
    kind: str
    attempt: int
    retries_used: int
    node: RemoteNode | None
    created_by: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    claimed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """By the database's clock."""
    claimed_after: float = field(default_factory=monotonic)
    """The same moment by this process's clock, which counts and is never set."""

    @property
    def now(self) -> datetime:
        """The present time by the database's clock: what jobs wait for is told by that one."""
        passed = timedelta(seconds=monotonic() - self.claimed_after)
        return self.claimed_at + passed

    @property
    def gives_up_at(self) -> datetime | None:
        """Until when it is tried again whatever fails; None: as often as usual."""
        until = self.parameters.get("give_up_at")
        return None if until is None else datetime.fromisoformat(str(until))


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How an execution ended; `state` is a final one."""

    state: JobState
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


Keys = Mapping[str, str | Sequence[str]]
"""Query keys by DICOM keyword; an empty value requests the attribute."""

Match = Mapping[str, Any]
"""Attributes of one C-FIND response by DICOM keyword; multiple values are a list."""


@dataclass(frozen=True, slots=True)
class FindEnd:
    """How one C-FIND ended: the number of matches, and whether the peer stopped early."""

    matches: int
    cut_short: bool
    words: str


@dataclass(frozen=True, slots=True)
class SubOperationCounts:
    """The peer's sub-operation counts; None where it does not report one (PS3.7 9.1.4.1)."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteRetrieveEnd:
    """The final response to a C-MOVE or C-GET."""

    status: int
    words: str
    counts: SubOperationCounts
    failed_sop_instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What a job is about: a study, a series, SOP instances, or studies to look up."""

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()
    patient_id: str = ""
    accession_number: str = ""

    @property
    def level(self) -> str:
        """The query/retrieve level that the subject names."""
        if self.sop_instance_uids:
            return "IMAGE"
        return "SERIES" if self.series_instance_uid else "STUDY"


@dataclass(frozen=True, slots=True)
class Item:
    """One expected SOP instance."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    arrived: bool = False


@dataclass(frozen=True, slots=True)
class ArrivalCounts:
    """How much of what a job expects is here."""

    expected: int
    arrived: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Instances of a study or series in the index that the job's items do not name."""

    since: int
    """Instances that arrived after the job began."""
    size_bytes: int
    """Total bytes of those instances."""
    here: int
    """Instances, whenever they arrived."""


@dataclass(frozen=True, slots=True)
class IndexedObject:
    """One object in the index, and its file's path below the storage root."""

    item: Item
    transfer_syntax_uid: str
    path: str
    size_bytes: int
    content_sha256: bytes = b""
    calling_ae: str = ""
    """The AE title of who sent it here."""
    peer_address: str = ""
    """The address from which it came; empty if nobody knows."""
    grows: bool = False
    """Whether more of its series, or of the study that was asked for, may follow."""

    @property
    def sender(self) -> str:
        """Who sent it here."""
        return f"{self.calling_ae}@{self.peer_address}"


@dataclass(frozen=True, slots=True)
class AnsweredObject:
    """One object in one content, and the status with which an endpoint has answered for it."""

    sop_instance_uid: str
    content_sha256: bytes
    status: int = 0
    origin: str | None = None
    """Who sent it here, if that is who has sent the first content of it; else None."""
    hops: int = 0
    """How often it went there although somebody else had sent it here."""


@dataclass(frozen=True, slots=True)
class HandedSeries:
    """What is to lie in the folder of a series."""

    objects: Sequence[IndexedObject]
    before: Mapping[str, bytes] = field(default_factory=dict)
    """SHA-256 of what the folder got last, by SOP Instance UID, as far as that is known."""
    whole: bool = True
    """Whether these are all objects of the series, not one of which nobody knows what follows."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One object that arrived over our own association and is durable here."""

    study_instance_uid: str
    sop_instance_uid: str
    size_bytes: int
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class ListLine:
    """One line of a list."""

    id: int
    keys: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """A node's answer to one line."""

    state: str
    """complete, truncated or failed."""
    studies: Sequence[Mapping[str, Any]] = ()
    """Attributes of each study, and how many instances of it the node reports."""
    error: str = ""


@dataclass(slots=True)
class ListTally:
    """How many lines have been answered, and with which result."""

    answered: int = 0
    found: int = 0
    truncated: int = 0
    failed: int = 0

    def count(self, answer: LineAnswer) -> None:
        """Count one more answer."""
        self.answered += 1
        self.found += bool(answer.studies)
        self.truncated += answer.state == "truncated"
        self.failed += answer.state == "failed"


class LostLease(DrawError):
    """Another worker holds this job, or the job has ended; this worker's results are void."""


class Cancelled(DrawError):
    """An operator cancelled the job."""


class Interrupted(DrawError):
    """This worker is stopping; the job returns to the queue."""


class Postponed(DrawError):
    """The job cannot go on yet; it continues then, and this is no failed try."""

    def __init__(self, until: datetime, words: str = WINDOW_CLOSED) -> None:
        super().__init__(words)
        self.until = until


class StatusTransient(Transient):
    """The peer ended an operation with a status that another try may change."""


class StoredFileAway(Transient):
    """The file of an object in the index is missing or unreadable now; the volume may come back."""


class ObjectsRefused(StatusTransient):
    """The peer works, and did not take some objects for their own sake."""


class SomeNotSent(StatusTransient):
    """Something has not arrived that may yet; `outcome` ends the job unless a retry succeeds."""

    def __init__(self, outcome: JobOutcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


class StatusPermanent(Permanent):
    """The peer ended an operation with a status that no other try will change."""


class NothingThere(Permanent):
    """The node has nothing that the job names."""


class InvalidJob(Permanent):
    """The job's own parameters are invalid."""


@dataclass(frozen=True, slots=True)
class OpenDelivery:
    """A delivery that is not over, with what its job or its webhook says."""

    id: int
    decision_id: int
    destination: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    payload: Mapping[str, Any]
    state: str
    target: str
    target_since: datetime | None
    job_id: UUID | None
    attempts: int
    failures: int
    delivered_count: int
    created_at: datetime
    give_up_at: datetime
    sequence: int | None
    applied: Sequence[str]
    routing_version: int
    instance_count: int
    error: str
    begun_before: bool
    job_state: str | None = None
    job_error: str = ""
    job_result: Mapping[str, Any] = field(default_factory=dict)
    job_progress: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 0
    """Failed tries of its job, without `refusals`."""
    refusals: int = 0
    """Tries at which the target did not take some objects for their own sake."""
    last_try_at: datetime | None = None
    running_since: datetime | None = None
    """Since when its job runs, or, if it waits after failed tries, when the first of these began.

    None while it has not run.
    """
    made_for: Mapping[str, Any] = field(default_factory=dict)
    """What the rules said of the target when the job was made; empty without a job of its own."""
    cancel_requested: bool = False
    shared_by: int = 1
    """For how many deliveries its job was made."""
    retrieves: bool = False
    """Whether its job has earlier studies retrieved."""
    in_batch: bool = False
    """Whether its job is the batch of their retrieves; `job_progress` sums them up."""


@dataclass(frozen=True, slots=True)
class PlanningOrder:
    """Which deliveries wait for others, by names of destinations."""

    names: Sequence[str]
    """All destinations."""
    alone: Sequence[str]
    """Those that have one delivery of a study at a time, else it is one of a series."""
    side_by_side: Sequence[str]
    """Those to which SOP instances of one series go at the same time."""
    sharing: Sequence[tuple[str, str]]
    """Each two that send to the same place, and each with itself."""


@dataclass(frozen=True, slots=True)
class RoutedStudy:
    """A study that is here and whose patient's earlier studies are wanted."""

    study_instance_uid: str
    patient_id: str
    issuer: str
    study_date: date | None
    study_time: time | None
    is_prior: bool = False
    """Whether it is here only because rules had it retrieved as an earlier one."""


@dataclass(frozen=True, slots=True)
class PriorStudy:
    """A study that a node has of a patient."""

    study_instance_uid: str
    moment: tuple[str, str]
    """Date and time as DICOM writes them, the latter to the second, empty if unknown."""
    instances: int | None
    """The number of instances that the node reports."""
    attributes: Match


@dataclass(frozen=True, slots=True)
class NewPriorBatch:
    """The retrieves of one delivery."""

    id: UUID
    delivery_id: int
    node_id: int
    parameters: Mapping[str, Any]
    retrieves: Sequence["NewPriorRetrieve"]


@dataclass(frozen=True, slots=True)
class NewPriorRetrieve:
    """The retrieve of one study; `key` is that of all retrieves of it from this node."""

    study_instance_uid: str
    key: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DestinationState:
    """How a destination does."""

    name: str
    mode: str = "active"
    mode_since: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    last_attempt_at: datetime | None = None
    last_success_at: datetime | None = None
    last_error_at: datetime | None = None
    last_error: str = ""
    in_force: str = ""
