"""Connecting a device: what it must know of us, and how its calls ended."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from draw_api.handlers.work import InWork
from draw_api.models.devices import DeviceCall, OwnData
from draw_api.models.peers import Address
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.identifiers import OptionalAeTitle
from draw_shared.contracts.moments import Moment
from draw_shared.web.identity import requires

router = APIRouter(prefix="/api/v1/devices", tags=["devices"])

MayReadPeers = Annotated[Principal, requires(Permission.READ_PEERS)]


@router.get("/own-data")
def own_data(request: Request, _: MayReadPeers, work: InWork) -> OwnData:
    """Return what a device that is to send here has to be told: AE title, addresses, ports."""
    return work.devices.own_data(request.url.hostname or "")


@router.get("/calls")
def calls(
    _: MayReadPeers,
    work: InWork,
    since: Annotated[Moment, Query(description="at most a day ago")],
    ae_title: Annotated[OptionalAeTitle, Query(description="empty: any")] = "",
    address: Annotated[Address, Query(description="empty: any")] = "",
) -> list[DeviceCall]:
    """Return the peers that have called since then, last first, with a reason if rejected."""
    return work.devices.calls(since, ae_title, address)
