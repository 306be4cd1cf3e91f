"""STOW-RS: the addresses at which objects are stored (PS3.18 10.5)."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from uuid import uuid4

import anyio
import anyio.to_thread
import structlog
from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from draw_dicomweb.handlers.addresses import address_of, named_by
from draw_dicomweb.handlers.multipart import MultipartWriter
from draw_dicomweb.handlers.remarks import WARNING, remark
from draw_dicomweb.handlers.wishes import chosen
from draw_dicomweb.handlers.work import DicomwebWorkFactory
from draw_dicomweb.handlers.xml_model import native_model
from draw_dicomweb.metrics import DicomwebMetrics
from draw_dicomweb.models import StoreOutcome
from draw_dicomweb.ports.store import Submission, SubmissionEnd
from draw_dicomweb.services.json_parts import JsonParts, TooLongBody
from draw_dicomweb.services.media_types import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    JSON,
    MULTIPART,
    Choice,
    Offer,
    describe,
    read_content_type,
)
from draw_dicomweb.services.multipart_reader import (
    BodyReader,
    Malformed,
    MultipartReader,
    SinglePartReader,
)
from draw_dicomweb.services.store import StoreRules, StoreRun, TooManyParts
from draw_dicomweb.services.store_report import status_of, store_report
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Busy
from draw_shared.dicom.network.service import AssociationInfo
from draw_shared.storage.ingest import Ingest
from draw_shared.web.turns import RETRY_DELAY_SECONDS
from draw_shared.wording import message

log = structlog.get_logger()

CALLING_AE: Final = "DICOMWEB"
"""Stands for the AE title that a client of HTTP does not have."""
FED_BYTES: Final = 128 * 1024
"""A thread takes so much at once, and none waits for a client."""
MAX_THREADS: Final = 8
MAX_IN_MEMORY: Final = 2
"""Requests with metadata and bulk data at a time."""
MAX_REASONS: Final = 5
OFFERS: Final = (
    Offer(DICOM_JSON, multipart=False),
    Offer(JSON, multipart=False),
    Offer(DICOM_XML, multipart=False),
    Offer(DICOM_XML, multipart=True),
)
TAKEN: Final = (
    Offer(DICOM, multipart=True),
    Offer(DICOM, multipart=False),
    Offer(DICOM_JSON, multipart=True),
    Offer(DICOM_JSON, multipart=False),
)


class StoreEndpoints:
    """Takes objects in."""

    def __init__(
        self,
        work: DicomwebWorkFactory,
        ingest: Ingest,
        rules: Callable[[], StoreRules],
        metrics: DicomwebMetrics,
    ) -> None:
        self._work = work
        self._ingest = ingest
        self._rules = rules
        self._metrics = metrics
        self._threads: anyio.CapacityLimiter | None = None
        self._in_memory = 0

    async def store(self, request: Request, by: Principal) -> Response:
        """Store the objects of a request, and answer what became of each.

        Raises:
            HTTPException: the body is of a media type that is not taken (415).
            NotFound: the address has something that is no UID.
            Transient: nothing can be stored now, or the transaction log cannot be written.
        """
        choice = chosen(request, OFFERS)
        study = named_by(request).study
        rules = self._rules()
        submission = Submission(by, study, _info(request, by, rules))
        kind = _kind_of(request)
        with self._place(kind):
            run = StoreRun(
                self._ingest,
                rules,
                submission,
                _reader(kind),
                partial(self._keep_record, submission),
                described=JsonParts() if kind.parts == DICOM_JSON else None,
            )
            try:
                ended_by = await self._take_in(request, run)
            finally:
                # Whatever happened: of a part that is not complete nothing stays.
                run.abandon()
            return _answer(request, choice, run, study, ended_by)

    @contextmanager
    def _place(self, kind: "_BodyKind") -> Iterator[None]:
        """Hold a place for a body that is in memory as a whole.

        Raises:
            Busy: there are enough of them.
        """
        if kind.parts != DICOM_JSON:
            yield
            return
        if self._in_memory >= MAX_IN_MEMORY:
            raise Busy(RETRY_DELAY_SECONDS)
        self._in_memory += 1
        try:
            yield
        finally:
            self._in_memory -= 1

    async def _take_in(self, request: Request, run: StoreRun) -> Exception | None:
        """Read the body to its end; return why it is not acceptable as a whole."""
        held: list[bytes] = []
        size = 0
        try:
            async for chunk in request.stream():
                held.append(chunk)
                size += len(chunk)
                if size >= FED_BYTES:
                    whole, held, size = b"".join(held), [], 0
                    await self._in_thread(run.feed, whole)
                    if run.ended:
                        break
            await self._in_thread(run.feed, b"".join(held))
            await self._in_thread(run.finish)
        except (Malformed, TooManyParts, TooLongBody) as error:
            await self._in_thread(run.break_off, str(error))
            return error
        except ClientDisconnect:
            await self._in_thread(run.break_off, message("the client went away"))
            raise
        return None

    async def _in_thread(self, function: Callable[..., None], *given: object) -> None:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(MAX_THREADS)
        await anyio.to_thread.run_sync(function, *given, limiter=self._threads)

    def _keep_record(
        self, submission: Submission, outcomes: Sequence[StoreOutcome], end: SubmissionEnd | None
    ) -> None:
        with self._work() as work:
            work.store_log.objects(submission, outcomes)
            if end is not None:
                work.store_log.ended(submission, end)
        for one in outcomes:
            self._metrics.store_answers.labels(f"0x{one.status:04X}").inc()
            self._metrics.stored_bytes.inc(one.size_bytes)
            if not one.stored:
                log.warning(
                    "store.refused",
                    association_id=submission.info.association_id,
                    sop_instance_uid=one.sop_instance_uid,
                    status=f"0x{one.status:04X}",
                    reason=one.reason,
                )


class _BodyKind(NamedTuple):
    """What a body says it is."""

    multipart: bool
    parts: str
    """Media type of its parts, or of itself."""
    boundary: str


def _kind_of(request: Request) -> _BodyKind:
    """Return what the body of a request is.

    Raises:
        HTTPException: it is of a media type, or has an encoding, that is not taken (415).
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message("The body must not be compressed.")
        )
    name, parameters = read_content_type(request.headers.get("content-type", ""))
    multipart = name == MULTIPART
    parts = parameters.get("type", DICOM).lower() if multipart else name
    if parts not in {DICOM, DICOM_JSON}:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            message("Objects are stored as %(forms)s.", forms=" | ".join(describe(TAKEN))),
        )
    return _BodyKind(multipart, parts, parameters.get("boundary", ""))


def _reader(kind: _BodyKind) -> BodyReader:
    """Return the reader for a body.

    Raises:
        HTTPException: the boundary is missing or malformed (400).
    """
    try:
        return MultipartReader(kind.boundary) if kind.multipart else SinglePartReader()
    except Malformed as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from error


def _info(request: Request, by: Principal, rules: StoreRules) -> AssociationInfo:
    server = request.scope.get("server")
    return AssociationInfo(
        association_id=str(uuid4()),
        calling_ae=CALLING_AE,
        called_ae=rules.own_ae,
        peer_address=by.address,
        local_address=str(server[0]) if server else "",
        opened_at=datetime.now(UTC),
        contexts={},
        peer_max_pdu=0,
        peer_implementation="",
        user=by.actor,
    )


def _answer(
    request: Request, choice: Choice, run: StoreRun, study: str, ended_by: Exception | None
) -> Response:
    status = status_of(run.outcomes, too_large=run.only_too_large)
    remarks = list(dict.fromkeys(one.reason for one in run.outcomes if one.reason))
    if ended_by is not None:
        status = (
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            if isinstance(ended_by, TooManyParts | TooLongBody)
            else HTTPStatus.BAD_REQUEST
        )
        if not any(one.sop_instance_uid for one in run.outcomes):
            raise HTTPException(status, str(ended_by)) from ended_by
        remarks.insert(0, str(ended_by))
    answer = _written(
        store_report(run.outcomes, study, partial(address_of, request)), choice, status
    )
    for words in remarks[:MAX_REASONS]:
        answer.headers.append(WARNING, remark(words))
    return answer


def _written(report: Mapping[str, Any], choice: Choice, status: HTTPStatus) -> Response:
    if choice.type != DICOM_XML:
        body = json.dumps(report, separators=(",", ":")).encode()
        return Response(body, status, media_type=choice.type)
    document = native_model(report)
    if not choice.multipart:
        return Response(document, status, media_type=DICOM_XML)
    writer = MultipartWriter(DICOM_XML)
    parts = [({"Content-Type": DICOM_XML}, [document])]
    return Response(b"".join(writer.stream(parts)), status, media_type=writer.media_type)
