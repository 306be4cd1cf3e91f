"""Received objects over time."""

from typing import Annotated

from fastapi import APIRouter

from draw_api.handlers.identity import requires
from draw_api.handlers.work import InWork
from draw_api.models.access import Principal
from draw_api.models.activity import Throughput
from draw_api.models.permissions import Permission

router = APIRouter(prefix="/api/v1", tags=["status"])

MayReadStatus = Annotated[Principal, requires(Permission.READ_STATUS)]


@router.get("/throughput")
def throughput(_: MayReadStatus, work: InWork) -> Throughput:
    """Return what was received in the last hour by minutes, and in the last month by days."""
    return work.activity.throughput()
