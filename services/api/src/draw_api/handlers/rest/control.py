"""The services of the suite, and orders to start, stop or restart them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from draw_api.handlers.work import InWork
from draw_api.models.control import ControlAction, ServiceName, ServiceState
from draw_api.models.texts import REPLICA_NAME
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/services", tags=["services"])

MayReadStatus = Annotated[Principal, requires(Permission.READ_STATUS)]
MayControlServices = Annotated[Principal, requires(Permission.CONTROL_SERVICES)]


@router.get("")
def services(_: MayReadStatus, work: InWork) -> list[ServiceState]:
    """Return each service with its desired state and the state of its replicas."""
    return work.control.services()


@router.get("/{service}")
def service(_: MayReadStatus, work: InWork, service: ServiceName) -> ServiceState:
    """Return one service with its replicas."""
    return work.control.service(service)


@router.post("/{service}/{action}", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def tell(
    by: MayControlServices,
    work: InWork,
    service: ServiceName,
    action: ControlAction,
    replica: Annotated[
        str | None,
        Query(description="none: all", examples=["pacs1-scp"]),
        REPLICA_NAME,
    ] = None,
) -> ServiceState:
    """Start, stop or restart; stopping drains, and the desired state survives restarts."""
    return work.control.tell(by, service, action, replica)
