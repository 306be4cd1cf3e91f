"""Replay of other rules, and rules that are applied to the archive."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.routing_trials import (
    BatchOrder,
    ReplayQuestion,
    RoutingBatch,
    RoutingBatchPreview,
    RoutingReplay,
)
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(prefix="/api/v1/routing", tags=["routing"])

MayReadRouting = Annotated[Principal, requires(Permission.READ_ROUTING)]
MayChangeRouting = Annotated[Principal, requires(Permission.CHANGE_ROUTING)]
MayApplyRouting = Annotated[Principal, requires(Permission.APPLY_ROUTING)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
NOT_NOW = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@router.post("/replay", responses=NOT_NOW, dependencies=[costs(RequestCost.SUMS)])
def replay(by: MayChangeRouting, work: InWork, body: ReplayQuestion) -> RoutingReplay:
    """Return what rules would have done in the last days beside what was done; nothing is sent."""
    return work.routing_replay.replay(by, body)


@router.post(
    "/batches",
    responses=responses(HTTPStatus.CONFLICT),
    dependencies=[costs(RequestCost.SUMS)],
)
def apply(
    response: Response, by: MayApplyRouting, work: InWork, body: BatchOrder
) -> RoutingBatch | RoutingBatchPreview:
    """Apply rules in force to series of the archive; with `preview` only say what that would do."""
    if body.preview:
        return work.routing_batches.preview(by, body)
    made = work.routing_batches.start(by, body)
    response.headers["Location"] = f"{router.prefix}/batches/{made.id}"
    return made


@router.get("/batches")
def batches(
    _: MayReadRouting, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[RoutingBatch]:
    """Return the batches, newest first."""
    return work.routing_batches.page(cursor, limit)


@router.get("/batches/{batch_id}", responses=NOT_FOUND)
def batch(_: MayReadRouting, work: InWork, batch_id: UUID) -> RoutingBatch:
    """Return how far a batch is."""
    return work.routing_batches.one(batch_id)


@router.post("/batches/{batch_id}/cancel", responses=NOT_NOW)
def cancel(by: MayApplyRouting, work: InWork, batch_id: UUID) -> RoutingBatch:
    """End a batch; what it has decided stays."""
    return work.routing_batches.cancel(by, batch_id)
