"""Deliveries: what rules have sent where, and whether it has arrived."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, RowId
from draw_api.handlers.work import InWork
from draw_api.models.deliveries import (
    DeliveriesToGiveUp,
    DeliveriesToRetry,
    DeliveryCriteria,
    OptionalDestinationName,
    RoutedDelivery,
    RoutedDeliveryDetail,
    RoutingDeliveryState,
    SteeredDeliveries,
)
from draw_api.models.paging import Page
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.identifiers import OptionalUid
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/deliveries", tags=["routing"])

MayReadRouting = Annotated[Principal, requires(Permission.READ_ROUTING)]
MaySteerDeliveries = Annotated[Principal, requires(Permission.STEER_DELIVERIES)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
NOT_NOW = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@router.get("")
def deliveries(
    _: MayReadRouting,
    work: InWork,
    *,
    destination: Annotated[OptionalDestinationName, Query()] = "",
    state: Annotated[RoutingDeliveryState | None, Query()] = None,
    finished: Annotated[
        bool | None, Query(description="true: only those that are over; false: only the others")
    ] = None,
    study_instance_uid: Annotated[OptionalUid, Query()] = "",
    series_instance_uid: Annotated[OptionalUid, Query()] = "",
    oldest_first: Annotated[bool, Query()] = False,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[RoutedDelivery]:
    """Return deliveries, the newest first."""
    criteria = DeliveryCriteria.of(
        state=state,
        finished=finished,
        destination=destination,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
    )
    return work.deliveries.page(criteria, oldest_first=oldest_first, cursor=cursor, limit=limit)


@router.post("/retry", responses=responses(HTTPStatus.CONFLICT))
def retry_many(by: MaySteerDeliveries, work: InWork, body: DeliveriesToRetry) -> SteeredDeliveries:
    """Try several deliveries now or once more, at most 500; `refused` says why some were not."""
    return work.deliveries.retry_many(by, body)


@router.post("/give-up")
def give_up_many(
    by: MaySteerDeliveries, work: InWork, body: DeliveriesToGiveUp
) -> SteeredDeliveries:
    """End several deliveries that are not over, at most 500; `refused` says why some were not."""
    return work.deliveries.give_up_many(by, body)


@router.get("/{delivery_id}", responses=NOT_FOUND)
def delivery(_: MayReadRouting, work: InWork, delivery_id: RowId) -> RoutedDeliveryDetail:
    """Return one delivery with what it has brought."""
    return work.deliveries.one(delivery_id)


@router.post("/{delivery_id}/retry", responses=NOT_NOW)
def retry(by: MaySteerDeliveries, work: InWork, delivery_id: RowId) -> RoutedDeliveryDetail:
    """Try a delivery that waits now, and send what is missing of one that failed, as a new try."""
    return work.deliveries.retry(by, delivery_id)


@router.post("/{delivery_id}/give-up", responses=NOT_NOW)
def give_up(by: MaySteerDeliveries, work: InWork, delivery_id: RowId) -> RoutedDeliveryDetail:
    """End a delivery; a running job is cancelled."""
    return work.deliveries.give_up(by, delivery_id)
