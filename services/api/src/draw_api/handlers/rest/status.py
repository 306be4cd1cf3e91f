"""The state of the suite."""

from typing import Annotated

from fastapi import APIRouter

from draw_api.handlers.work import InWork
from draw_api.models.status import Status
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires

router = APIRouter(prefix="/api/v1", tags=["status"])

MayReadStatus = Annotated[Principal, requires(Permission.READ_STATUS)]


@router.get("/status")
def status(_: MayReadStatus, work: InWork) -> Status:
    """Return each replica, what was received, storage used, and the backlog."""
    return work.status.status()
