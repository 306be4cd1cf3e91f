"""The DICOM conformance statement."""

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from draw_api.handlers.work import InWork
from draw_api.services.conformance import statement
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires

router = APIRouter(prefix="/api/v1", tags=["status"])

MayReadStatus = Annotated[Principal, requires(Permission.READ_STATUS)]


@router.get(
    "/conformance",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/markdown": {}}, "description": "Markdown"}},
)
def conformance(_: MayReadStatus, request: Request, work: InWork) -> PlainTextResponse:
    """Return the conformance statement of the configuration in force."""
    text = statement(work.configuration.current().document, request.app.version)
    return PlainTextResponse(text, media_type="text/markdown")
