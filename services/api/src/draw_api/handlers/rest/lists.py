"""Lists as request bodies: a CSV file as it is, or the file of a form."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request
from starlette.datastructures import UploadFile

from draw_api.services.csv_lists import MAX_LIST_BYTES, wrong
from draw_shared.web.bodies import form_of
from draw_shared.web.problems import responses
from draw_shared.wording import message

FIELD: Final = "file"
FORM: Final = "multipart/form-data"
MAX_FORM_BYTES: Final = MAX_LIST_BYTES + 64 * 1024
"""The maximum of a list and the form around it."""
TAKEN: Final = ("", "application/csv", "application/vnd.ms-excel", "application/octet-stream")
"""Media types, besides text, under which programs send CSV files."""
REFUSALS: Final = responses(
    HTTPStatus.LENGTH_REQUIRED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)


def list_body(example: str) -> dict[str, Any]:
    """Return the OpenAPI description of a body that is a list."""
    csv = {"schema": {"type": "string", "examples": [example]}}
    file = {"type": "string", "format": "binary", "description": "a CSV file"}
    properties = {FIELD: file | {"examples": [example]}}
    form = {"schema": {"type": "object", "properties": properties, "required": [FIELD]}}
    return {"requestBody": {"required": True, "content": {"text/csv": csv, FORM: form}}}


async def _read_upload(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        return await _read_form_file(request)
    if kind not in TAKEN and not kind.startswith("text/"):
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            message("Send the list as text/csv or %(form)s.", form=FORM),
        )
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_LIST_BYTES:
            raise _too_large()
    return bytes(raw)


async def _read_form_file(request: Request) -> bytes:
    said = request.headers.get("content-length", "")
    if not said.isdecimal():
        raise HTTPException(HTTPStatus.LENGTH_REQUIRED)
    if int(said) > MAX_FORM_BYTES:
        raise _too_large()
    async with form_of(request, max_files=1, max_fields=1, max_part_size=MAX_LIST_BYTES) as form:
        sent = form.get(FIELD)
        if not isinstance(sent, UploadFile):
            raise wrong(
                FIELD,
                message(
                    "send the list as the file of the form's field %(field)s", field=repr(FIELD)
                ),
            )
        return await sent.read()


def _too_large() -> HTTPException:
    return HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        message("A list has at most %(most)s MB.", most=MAX_LIST_BYTES // 1024**2),
    )


UploadedList = Annotated[bytes, Depends(_read_upload)]
"""The bytes of a list; depends on the identity first, so that only permitted callers send much."""
