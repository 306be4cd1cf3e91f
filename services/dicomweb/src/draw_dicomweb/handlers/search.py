"""QIDO-RS: the addresses of searches (PS3.18 10.6)."""

import json
from functools import partial
from http import HTTPStatus
from typing import Final

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from draw_dicomweb.handlers.addresses import address_of, named_by
from draw_dicomweb.handlers.multipart import MultipartWriter
from draw_dicomweb.handlers.remarks import WARNING, remark
from draw_dicomweb.handlers.wishes import chosen
from draw_dicomweb.handlers.xml_model import native_model
from draw_dicomweb.services.media_types import DICOM_JSON, DICOM_XML, JSON, Offer
from draw_dicomweb.services.search import SearchService
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Invalid
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.keys import Level
from draw_shared.web.identity import client_address

OFFERS: Final = (
    Offer(DICOM_JSON, multipart=False),
    Offer(JSON, multipart=False),
    Offer(DICOM_XML, multipart=True),
)


class SearchEndpoints:
    """Answers searches at every level."""

    def __init__(self, service: SearchService) -> None:
        self._service = service

    async def studies(self, request: Request, by: Principal) -> Response:
        """Answer a search for studies."""
        return await self._search(Level.STUDY, request, by)

    async def series(self, request: Request, by: Principal) -> Response:
        """Answer a search for series, of one study or of all."""
        return await self._search(Level.SERIES, request, by)

    async def instances(self, request: Request, by: Principal) -> Response:
        """Answer a search for instances, of one series, one study, or of all."""
        return await self._search(Level.IMAGE, request, by)

    async def _search(self, level: Level, request: Request, by: Principal) -> Response:
        choice = chosen(request, OFFERS)
        try:
            answer = await run_in_threadpool(
                self._service.search,
                level,
                named_by(request),
                request.query_params.multi_items(),
                Claimant(client_address(request), by.name, listed=True),
                partial(address_of, request),
            )
        except Invalid as error:
            # Here a parameter that cannot be is a bad request (PS3.18 8.5), elsewhere it is 422.
            words = "; ".join(f"{one.field}: {one.message}" for one in error.problems)
            raise HTTPException(HTTPStatus.BAD_REQUEST, words) from error
        warnings = [f"the parameter {name} is not supported here" for name in answer.ignored]
        if answer.more:
            warnings.append("there are further results; ask for them with offset and limit")
        if choice.type == DICOM_XML:
            writer = MultipartWriter(DICOM_XML)
            parts = [({"Content-Type": DICOM_XML}, [native_model(one)]) for one in answer.matches]
            made = Response(b"".join(writer.stream(parts)), media_type=writer.media_type)
        else:
            body = json.dumps(answer.matches, ensure_ascii=False, separators=(",", ":"))
            made = Response(body.encode(), media_type=choice.type)
        for words in warnings:
            made.headers.append(WARNING, remark(words))
        return made
