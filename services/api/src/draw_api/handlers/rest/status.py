"""The state of the suite."""

from typing import Annotated

from fastapi import APIRouter

from draw_api.handlers.identity import requires
from draw_api.handlers.work import InWork
from draw_api.models.access import Principal
from draw_api.models.permissions import Permission
from draw_api.models.status import Status

router = APIRouter(prefix="/api/v1", tags=["status"])

MayReadStatus = Annotated[Principal, requires(Permission.READ_STATUS)]


@router.get("/status")
def status(_: MayReadStatus, work: InWork) -> Status:
    """Return each replica, what was received, storage used, and the backlog."""
    return work.status.status()
