"""WADO-RS: metadata (PS3.18 10.4.1.1.2)."""

from typing import Final

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from draw_dicomweb.handlers.addresses import named_by
from draw_dicomweb.handlers.multipart import MultipartWriter
from draw_dicomweb.handlers.wishes import chosen
from draw_dicomweb.handlers.xml_model import native_models
from draw_dicomweb.services.media_types import DICOM_JSON, DICOM_XML, JSON, Offer
from draw_dicomweb.services.metadata import MetadataAnswer, MetadataService
from draw_shared.access.principals import Principal

OFFERS: Final = (
    Offer(DICOM_JSON, multipart=False),
    Offer(JSON, multipart=False),
    Offer(DICOM_XML, multipart=True),
)
FRESH: Final = {"Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Encoding"}
"""A browser may keep it, and asks whether it is still right."""


class MetadataEndpoints:
    """Sends metadata."""

    def __init__(self, service: MetadataService) -> None:
        self._service = service

    async def metadata(self, request: Request, _: Principal) -> Response:
        """Send the metadata of a study, a series or an instance."""
        choice = chosen(request, OFFERS)
        as_xml = choice.type == DICOM_XML
        answer = await run_in_threadpool(
            self._service.answer,
            named_by(request),
            _known(request),
            gzip_taken=not as_xml and _takes_gzip(request),
        )
        headers = FRESH | {"ETag": answer.etag}
        if not answer.content:
            return Response(status_code=304, headers=headers)
        if as_xml:
            writer = MultipartWriter(DICOM_XML)
            body = await run_in_threadpool(_written, writer, answer)
            return Response(body, media_type=writer.media_type, headers=headers)
        if answer.compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(answer.content, media_type=choice.type, headers=headers)


def _written(writer: MultipartWriter, answer: MetadataAnswer) -> bytes:
    documents = native_models(answer.content)
    return b"".join(writer.stream(({"Content-Type": DICOM_XML}, [one]) for one in documents))


def _known(request: Request) -> frozenset[str]:
    """Return the entity tags that the client has (RFC 9110 13.1.2)."""
    told = ",".join(request.headers.getlist("if-none-match"))
    return frozenset(one.strip().removeprefix("W/") for one in told.split(","))


def _takes_gzip(request: Request) -> bool:
    wishes = request.headers.get("accept-encoding", "").lower().split(",")
    names = {name.strip(): rest for name, _, rest in (one.partition(";") for one in wishes)}
    return "gzip" in names and names["gzip"].replace(" ", "") not in {"q=0", "q=0.0"}
