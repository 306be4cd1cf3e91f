"""Received objects over time, the last day in numbers, what arrived last."""

from typing import Annotated

from fastapi import APIRouter

from draw_api.handlers.work import InWork
from draw_api.models.activity import LastDay, LastReceived, Throughput
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires

router = APIRouter(prefix="/api/v1", tags=["status"])

MayReadStatus = Annotated[Principal, requires(Permission.READ_STATUS)]


@router.get("/throughput")
def throughput(_: MayReadStatus, work: InWork) -> Throughput:
    """Return what was received in the last hour by minutes, and in the last month by days."""
    return work.activity.throughput()


@router.get("/throughput/last-day")
def last_day(_: MayReadStatus, work: InWork) -> LastDay:
    """Return the transactions of the last 24 hours in numbers; a line may be counted late."""
    return work.activity.last_day()


@router.get("/throughput/last-received")
def last_received(_: MayReadStatus, work: InWork) -> list[LastReceived]:
    """Return the modalities of which something arrived last, newest first."""
    return list(work.activity.last_received())
