"""How much was received when."""

from fastapi import APIRouter

from draw_api.handlers.identity import Viewer
from draw_api.handlers.work import InWork
from draw_api.models.activity import Throughput

router = APIRouter(prefix="/api/v1", tags=["status"])


@router.get("/throughput")
def throughput(_: Viewer, work: InWork) -> Throughput:
    """Return what was received in the last hour by minutes, and in the last month by days."""
    return work.activity.throughput()
