"""WADO-RS: frames and bulk data (PS3.18 10.4.1.1.3, 10.4.1.1.5)."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from time import monotonic
from typing import Final

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from draw_dicomweb.handlers.addresses import named_by
from draw_dicomweb.handlers.multipart import MultipartWriter
from draw_dicomweb.handlers.wishes import chosen
from draw_dicomweb.handlers.work import DicomwebWorkFactory
from draw_dicomweb.models import ArchivedObject, BulkRange, Frames, UidPath
from draw_dicomweb.ports.objects import ValueSource
from draw_dicomweb.services.media_types import ANY, OCTETS, Offer
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE
from draw_shared.wording import message

MAX_FRAMES_AT_ONCE: Final = 10_000
MAX_DIGITS: Final = 9
REMEMBERED_SECONDS: Final = 1.0
MAX_REMEMBERED: Final = 4096
RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

MEDIA_TYPES: Final = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.110": "image/jxl",
    "1.2.840.10008.1.2.4.111": "image/jxl",
    "1.2.840.10008.1.2.4.112": "image/jxl",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
}
"""Media types of frames by their transfer syntax (PS3.18 table 8.7.3-5)."""


Look = tuple[str, str, UidPath]
"""Who looks, from which address, at what: each is on record for itself."""


class PixelEndpoints:
    """Sends frames and bulk data."""

    def __init__(self, work: DicomwebWorkFactory, source: ValueSource) -> None:
        self._work = work
        self._source = source
        self._known: OrderedDict[Look, tuple[float, ArchivedObject, Frames]] = OrderedDict()

    async def frames(self, request: Request, by: Principal) -> Response:
        """Send one or several frames of an instance."""
        named = named_by(request)
        numbers = _numbers(request.path_params["frames"])
        stored, frames = await self._frames_of(by, named)
        choice = chosen(request, _offers(stored, frames, one=len(numbers) == 1))
        native = choice.transfer_syntax == EXPLICIT_LITTLE
        read = frames.decode if native else frames.read
        syntax = (
            EXPLICIT_LITTLE if native or not frames.encapsulated else stored.transfer_syntax_uid
        )
        kind = f"{choice.type}; transfer-syntax={syntax}"
        # What fails with the first frame is answered with a status.
        first = await run_in_threadpool(read, numbers[0])
        if not choice.multipart:
            return Response(first, media_type=kind)
        writer = MultipartWriter(choice.type)
        head = writer.begin({"Content-Type": kind})
        if len(numbers) == 1:
            body = b"".join((head, first, writer.end()))
            return Response(body, media_type=writer.media_type)
        rest = ((({"Content-Type": kind}), [read(number)]) for number in numbers[1:])
        return StreamingResponse(
            _chain((head, first), writer.stream(rest)), media_type=writer.media_type
        )

    async def bulk(self, request: Request, by: Principal) -> Response:
        """Send one long value of an instance, or a part of it (RFC 9110 14)."""
        named = named_by(request)
        choice = chosen(request, (Offer(OCTETS, multipart=False), Offer(OCTETS, multipart=True)))
        value = await run_in_threadpool(self._bulk_of, by, named, request.path_params["path"])
        if choice.multipart:
            writer = MultipartWriter(OCTETS)
            parts = [({"Content-Type": OCTETS}, value.read(0, value.length))]
            return StreamingResponse(writer.stream(parts), media_type=writer.media_type)
        return _ranged(request, value)

    async def _frames_of(self, by: Principal, named: UidPath) -> tuple[ArchivedObject, Frames]:
        look = by.actor, by.address, named
        found = self._known.get(look)
        if found is not None and found[0] > monotonic():
            return found[1:]
        stored, frames = await run_in_threadpool(self._look_up, by, named, found)
        self._known[look] = monotonic() + REMEMBERED_SECONDS, stored, frames
        self._known.move_to_end(look)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return stored, frames

    def _look_up(
        self, by: Principal, named: UidPath, before: tuple[float, ArchivedObject, Frames] | None
    ) -> tuple[ArchivedObject, Frames]:
        with self._work() as work:
            stored = work.retrieve.look_at(by, named)
        if before is not None and before[1] == stored:
            return stored, before[2]
        return stored, self._source.frames(stored)

    def _bulk_of(self, by: Principal, named: UidPath, path: str) -> BulkRange:
        with self._work() as work:
            stored = work.retrieve.look_at(by, named)
        return self._source.bulk(stored, path.upper())


def _numbers(text: str) -> Sequence[int]:
    """Return the frame numbers of an address.

    Raises:
        NotFound: it has something that is no number, or too many.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MAX_FRAMES_AT_ONCE:
        raise Conflict(message("This is too many frames for one request."))
    if not all(part.isascii() and part.isdigit() and len(part) <= MAX_DIGITS for part in parts):
        raise NotFound(message("An address of frames has their numbers, as 1 or 1,2,3."))
    return [int(part) for part in parts]


def _offers(stored: ArchivedObject, frames: Frames, *, one: bool) -> Sequence[Offer]:
    """Return the forms in which frames can be had: native always, and as they are stored."""
    syntax = stored.transfer_syntax_uid
    native = Offer(OCTETS, multipart=True, transfer_syntaxes=(EXPLICIT_LITTLE, ANY))
    offers = [native]
    if frames.encapsulated:
        offers = [Offer(OCTETS, multipart=True, transfer_syntaxes=(EXPLICIT_LITTLE, syntax, ANY))]
        if kind := MEDIA_TYPES.get(syntax):
            offers.append(Offer(kind, multipart=True, transfer_syntaxes=(syntax, ANY)))
    if one:
        offers += [
            Offer(offer.type, multipart=False, transfer_syntaxes=offer.transfer_syntaxes)
            for offer in offers
        ]
    return offers


def _chain(first: Sequence[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from first
    yield from rest


def _ranged(request: Request, value: BulkRange) -> Response:
    headers = {"Accept-Ranges": "bytes"}
    asked = request.headers.get("range", "")
    found = RANGE.fullmatch(asked.replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        # What cannot be read as one range is answered whole (RFC 9110 14.2).
        headers["Content-Length"] = str(value.length)
        return StreamingResponse(value.read(0, value.length), media_type=OCTETS, headers=headers)
    if found[1]:
        begin = int(found[1])
        end = min(int(found[2]) + 1 if found[2] else value.length, value.length)
    else:
        begin, end = max(0, value.length - int(found[2])), value.length
    if begin >= end:
        raise HTTPException(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            message("The value has %(length)s bytes.", length=value.length),
            headers={"Content-Range": f"bytes */{value.length}"},
        )
    headers["Content-Range"] = f"bytes {begin}-{end - 1}/{value.length}"
    headers["Content-Length"] = str(end - begin)
    return StreamingResponse(
        value.read(begin, end), HTTPStatus.PARTIAL_CONTENT, media_type=OCTETS, headers=headers
    )
