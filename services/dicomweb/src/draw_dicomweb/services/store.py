"""STOW-RS: takes objects in as they arrive, by the same ingest as C-STORE (PS3.18 10.5).

A request is what an association is for C-STORE: its objects have one id and are counted, so that a
series is complete when the request has ended and everything of it is indexed.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from draw_dicomweb.models import StoreOutcome
from draw_dicomweb.ports.store import Submission, SubmissionEnd
from draw_dicomweb.services.json_parts import JsonParts, Made
from draw_dicomweb.services.media_types import DICOM, OCTETS, read_content_type
from draw_dicomweb.services.multipart_reader import (
    BodyReader,
    Event,
    Malformed,
    PartBegun,
    PartEnded,
)
from draw_shared.contracts.association_rules import capabilities
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.dicom.encoding.part10 import MAX_META_BYTES, FileMeta, decode
from draw_shared.dicom.network.negotiation import Capabilities
from draw_shared.dicom.network.service import PresentationContext, StoreRequest
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.errors import DrawError, Permanent
from draw_shared.storage.ingest import (
    Incomprehensible,
    Ingest,
    Reception,
    SopClassNotNegotiated,
    TransferSyntaxNotSupported,
    answer_to,
)
from draw_shared.wording import message

MAX_PARTS: Final = 20_000
"""Each has its place in the answer, which is made in memory."""
RECORDED_AT_ONCE: Final = 200
FAILURES: Final = (DrawError, OSError)
UNENCODED: Final = frozenset({"", "binary", "8bit", "7bit", "identity"})


class TooManyParts(Permanent):
    """A request has more parts than one may have; nothing after it is read."""


class TooLargeObject(Permanent):
    """An object is larger than the configuration allows."""


@dataclass(frozen=True, slots=True)
class StoreRules:
    """What is accepted now."""

    capabilities: Capabilities
    max_object_bytes: int
    own_ae: str

    @classmethod
    def configured(cls, config: ServerConfig) -> "StoreRules":
        """Return the rules of a configuration; whether C-STORE is on does not matter here."""
        return cls(
            replace(capabilities(config), receives=True, models=frozenset(), verification=False),
            config.storage.max_object_bytes,
            config.network.ae_title,
        )


Record = Callable[[Sequence[StoreOutcome], SubmissionEnd | None], None]
"""Writes down what became of objects, and at last how the request ended."""


class StoreRun:
    """One store request while its body arrives; used by one thread at a time."""

    def __init__(
        self,
        ingest: Ingest,
        rules: StoreRules,
        submission: Submission,
        reader: BodyReader,
        record: Record,
        *,
        described: JsonParts | None = None,
    ) -> None:
        self._ingest = ingest
        self._rules = rules
        self._submission = submission
        self._reader = reader
        self._record = record
        self._described = described
        """What objects are made of at the end, if they do not come as files."""
        self._part: _Part | None = None
        self._parts = 0
        self._recorded = 0
        self._stored = 0
        self.outcomes: list[StoreOutcome] = []

    @property
    def ended(self) -> bool:
        """Whether the rest of the body is of no interest."""
        return self._reader.ended

    @property
    def only_too_large(self) -> bool:
        """Whether nothing was stored because every object was too large."""
        return bool(self.outcomes) and all(one.reason == TOO_LARGE for one in self.outcomes)

    def feed(self, chunk: bytes) -> None:
        """Take a piece of the body; the objects that it completes are durable afterwards.

        Raises:
            Malformed, TooManyParts, TooLongBody: nothing more is taken; what is stored stays.
            Transient: the transaction log cannot be written.
        """
        for event in self._reader.feed(chunk):
            self._take_or_collect(event)

    def finish(self) -> None:
        """Take the end of the body.

        Raises:
            Malformed: it came too early.
            TooManyParts: more objects are described than there may be parts.
            Transient: the transaction log cannot be written.
        """
        for event in self._reader.finish():
            self._take_or_collect(event)
        if self._described is not None:
            self._parts = 0
            for made in self._described.files():
                self._store_made(made)
        if not self._parts:
            raise Malformed(message("The request brings no object."))
        self._write_down(self._end(""))

    def break_off(self, why: str) -> None:
        """Leave nothing of the part under way behind, and write down how far the request came.

        Raises:
            Transient: the transaction log cannot be written.
        """
        part, self._part = self._part, None
        if part is not None:
            self.outcomes.append(part.break_off(why))
        self._write_down(self._end(why))

    def abandon(self) -> None:
        """Leave nothing of the part under way behind."""
        part, self._part = self._part, None
        if part is not None:
            part.abandon()

    def _take_or_collect(self, event: Event) -> None:
        if self._described is None:
            self._take(event)
        elif isinstance(event, PartBegun):
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise _too_many()
            self._described.begin(event)
        elif isinstance(event, bytes):
            self._described.write(event)

    def _store_made(self, made: Made) -> None:
        self._take(PartBegun({}))
        if isinstance(made, bytes):
            self._take(made)
        elif self._part is not None:
            self._part.refuse(*made)
        self._take(PartEnded())

    def _take(self, event: Event) -> None:
        if isinstance(event, PartBegun):
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise _too_many()
            self._part = _Part(self, event)
        elif self._part is None:
            raise RuntimeError("content outside of a part")
        elif isinstance(event, PartEnded):
            outcome = self._part.complete()
            self._part = None
            self._stored += outcome.stored
            self.outcomes.append(outcome)
            if len(self.outcomes) - self._recorded >= RECORDED_AT_ONCE:
                self._write_down(None)
        else:
            self._part.write(event)

    def begin(self, meta: FileMeta) -> Reception:
        """Return the reception of an object with this file meta group.

        Raises:
            SopClassNotNegotiated, TransferSyntaxNotSupported: the configuration does not accept it.
            Incomprehensible: the group does not say what the object is.
            InvalidSopInstance, NoSpace: see `Ingest.begin`.
        """
        if not (meta.sop_class_uid and meta.sop_instance_uid and meta.transfer_syntax_uid):
            raise Incomprehensible(
                message("the file does not say which SOP class, instance or transfer syntax it has")
            )
        syntaxes = self._rules.capabilities.syntaxes(meta.sop_class_uid)
        if syntaxes is None:
            raise SopClassNotNegotiated(message("this SOP class is not accepted"))
        if meta.transfer_syntax_uid not in syntaxes:
            raise TransferSyntaxNotSupported(message("this transfer syntax is not accepted"))
        context = PresentationContext(1, meta.sop_class_uid, meta.transfer_syntax_uid)
        request = StoreRequest(
            0, meta.sop_class_uid, meta.sop_instance_uid, context, ordinal=self._stored + 1
        )
        return self._ingest.begin(self._submission.info, request, study=self._submission.study)

    @property
    def max_object_bytes(self) -> int:
        """Size of the largest object that is accepted."""
        return self._rules.max_object_bytes

    def _end(self, why: str) -> SubmissionEnd:
        studies = {one.study_instance_uid for one in self.outcomes if one.stored}
        study = self._submission.study or (studies.pop() if len(studies) == 1 else "")
        return SubmissionEnd(self._stored, len(self.outcomes) - self._stored, study, why)

    def _write_down(self, end: SubmissionEnd | None) -> None:
        new = self.outcomes[self._recorded :]
        self._record(new, end)
        self._recorded += len(new)


def _too_many() -> TooManyParts:
    return TooManyParts(message("A request has at most %(most)s parts.", most=MAX_PARTS))


TOO_LARGE: Final = message("larger than any object may be")


class _Part:
    """One Part 10 file while it arrives; after a failure its rest is dropped."""

    def __init__(self, run: StoreRun, begun: PartBegun) -> None:
        self._run = run
        self._begun = time.perf_counter()
        self._head = bytearray()
        self._meta = FileMeta("", "", "")
        self._reception: Reception | None = None
        self._size = 0
        self._failure: Exception | None = None
        kind = read_content_type(begun.headers.get("content-type", ""))[0]
        encodings = (
            begun.headers.get(name, "").lower()
            for name in ("content-transfer-encoding", "content-encoding")
        )
        if kind not in {"", DICOM, OCTETS}:
            self._failure = Incomprehensible(message("the part is no application/dicom"))
        elif not all(encoding in UNENCODED for encoding in encodings):
            self._failure = Incomprehensible(message("the part is encoded"))

    def write(self, chunk: bytes) -> None:
        """Take a piece of the file."""
        if self._failure is not None:
            return
        self._size += len(chunk)
        try:
            if self._size > self._run.max_object_bytes:
                raise TooLargeObject(TOO_LARGE)
            if self._reception is not None:
                self._reception.write(chunk)
                return
            self._head += chunk
            if len(self._head) >= MAX_META_BYTES:
                self._begin()
        except FAILURES as error:
            self._fail(error)

    def refuse(self, sop_instance_uid: str, failure: Permanent) -> None:
        """Take note that there is no file of this instance."""
        self._meta = self._meta._replace(sop_instance_uid=sop_instance_uid)
        self._fail(failure)

    def complete(self) -> StoreOutcome:
        """Return what became of the file; it is durable unless it was refused."""
        if self._failure is None:
            try:
                reception = self._reception or self._begin()
                stored = reception.complete()
            except FAILURES as error:
                self._fail(error)
            else:
                identity = stored.identity
                return StoreOutcome(
                    self._meta.sop_class_uid,
                    self._meta.sop_instance_uid,
                    DimseStatus.SUCCESS,
                    study_instance_uid=identity.study_instance_uid,
                    series_instance_uid=identity.series_instance_uid,
                    size_bytes=stored.size_bytes,
                    duplicate=stored.duplicate,
                    seconds=time.perf_counter() - self._begun,
                )
        failure = self._failure or RuntimeError()
        # Our own failures have fixed texts; others may contain a path.
        reason = str(failure) if isinstance(failure, DrawError) else type(failure).__name__
        return self._refused(answer_to(failure), reason)

    def break_off(self, why: str) -> StoreOutcome:
        """Leave nothing behind, and return what is known of the object."""
        self.abandon()
        return self._refused(DimseStatus.CANNOT_UNDERSTAND, why)

    def abandon(self) -> None:
        """Leave nothing behind."""
        reception, self._reception = self._reception, None
        if reception is not None:
            reception.abandon()

    def _begin(self) -> Reception:
        head = bytes(self._head)
        self._head.clear()
        meta, offset = decode(head[:MAX_META_BYTES])
        self._meta = meta
        self._reception = reception = self._run.begin(meta)
        reception.write(memoryview(head)[offset:])
        return reception

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._head.clear()
        self.abandon()

    def _refused(self, status: int, reason: str) -> StoreOutcome:
        return StoreOutcome(
            self._meta.sop_class_uid,
            self._meta.sop_instance_uid,
            status,
            reason,
            seconds=time.perf_counter() - self._begun,
        )
