"""How the suite is doing."""

from fastapi import APIRouter

from draw_api.handlers.identity import Viewer
from draw_api.handlers.work import InWork
from draw_api.models.status import Status

router = APIRouter(prefix="/api/v1", tags=["status"])


@router.get("/status")
def status(_: Viewer, work: InWork) -> Status:
    """Return each replica, what was received, storage used, and the backlog."""
    return work.status.status()
