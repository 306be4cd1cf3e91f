"""WADO-RS: the addresses of objects (PS3.18 10.4)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from draw_dicomweb.handlers.addresses import named_by
from draw_dicomweb.handlers.multipart import MultipartWriter
from draw_dicomweb.handlers.wishes import chosen
from draw_dicomweb.handlers.work import DicomwebWorkFactory
from draw_dicomweb.metrics import DicomwebMetrics
from draw_dicomweb.models import ArchivedObject, UidPath
from draw_dicomweb.ports.objects import ObjectSource
from draw_dicomweb.services.media_types import ANY, DICOM, Choice, Offer
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Refusal
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, UNCOMPRESSED

Part = tuple[Mapping[str, str], Iterator[bytes]]
TARGETS: Final = tuple(dict.fromkeys((EXPLICIT_LITTLE, *UNCOMPRESSED)))


class RetrieveEndpoints:
    """Sends whole objects."""

    def __init__(
        self, work: DicomwebWorkFactory, source: ObjectSource, metrics: DicomwebMetrics
    ) -> None:
        self._work = work
        self._source = source
        self._metrics = metrics

    async def objects(self, request: Request, by: Principal) -> Response:
        """Send every object of a study, a series or an instance."""
        named = named_by(request)
        found = await run_in_threadpool(self._hand_out, by, named)
        choice = chosen(request, _offers(found, one=bool(named.instance)))
        parts = self._parts(found, choice)
        # What fails before the first part is answered with a status.
        first = await run_in_threadpool(next, parts)
        if not choice.multipart:
            return StreamingResponse(first[1], media_type=first[0]["Content-Type"])
        writer = MultipartWriter(DICOM)
        return StreamingResponse(writer.stream(_chain(first, parts)), media_type=writer.media_type)

    def _hand_out(self, by: Principal, named: UidPath) -> Sequence[ArchivedObject]:
        with self._work() as work:
            return work.retrieve.hand_out(by, named)

    def _parts(self, found: Sequence[ArchivedObject], choice: Choice) -> Iterator[Part]:
        for number, one in enumerate(found):
            try:
                content = self._source.chunks(one, choice.transfer_syntax)
            except Refusal:
                # The answer has begun: the client sees from its parts what is missing.
                if number == 0:
                    raise
                continue
            syntax = one.transfer_syntax_uid if choice.transfer_syntax == ANY else ""
            yield _headers(syntax or choice.transfer_syntax), content
            self._metrics.sent_objects.inc()


def _headers(transfer_syntax: str) -> Mapping[str, str]:
    return {"Content-Type": f"{DICOM}; transfer-syntax={transfer_syntax}"}


def _chain(first: Part, rest: Iterator[Part]) -> Iterator[Part]:
    yield first
    yield from rest


def _offers(found: Sequence[ArchivedObject], *, one: bool) -> Sequence[Offer]:
    """Return what there is: uncompressed always, and what all objects are stored in."""
    stored = {each.transfer_syntax_uid for each in found}
    same = [syntax for syntax in stored if len(stored) == 1 and syntax not in TARGETS]
    syntaxes = (*TARGETS, *same, ANY)
    offers = [Offer(DICOM, multipart=True, transfer_syntaxes=syntaxes)]
    if one:
        offers.append(Offer(DICOM, multipart=False, transfer_syntaxes=syntaxes))
    return offers
