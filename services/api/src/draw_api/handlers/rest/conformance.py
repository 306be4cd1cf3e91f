"""The DICOM conformance statement."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from draw_api.handlers.identity import Viewer
from draw_api.handlers.work import InWork
from draw_api.services.conformance import statement

router = APIRouter(prefix="/api/v1", tags=["status"])


@router.get(
    "/conformance",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/markdown": {}}, "description": "Markdown"}},
)
def conformance(_: Viewer, request: Request, work: InWork) -> PlainTextResponse:
    """Return the conformance statement of the configuration in force."""
    text = statement(work.configuration.current().document, request.app.version)
    return PlainTextResponse(text, media_type="text/markdown")
