"""Destinations of the rules in force."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path

from draw_api.handlers.work import InWork
from draw_api.models.destinations import DestinationSummary
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.routing.parts import Name
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1/destinations", tags=["routing"])

MayReadRouting = Annotated[Principal, requires(Permission.READ_ROUTING)]
MaySteerDeliveries = Annotated[Principal, requires(Permission.STEER_DELIVERIES)]

DestinationInPath = Annotated[Name, Path(examples=["contouring"])]
NOT_NOW = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@router.get("", responses=responses(HTTPStatus.CONFLICT))
def destinations(_: MayReadRouting, work: InWork) -> list[DestinationSummary]:
    """Return the destinations of the rules in force, and how they do."""
    return work.destinations.all()


@router.get("/{name}", responses=NOT_NOW)
def destination(_: MayReadRouting, work: InWork, name: DestinationInPath) -> DestinationSummary:
    """Return one destination."""
    return work.destinations.one(name)


@router.post("/{name}/pause", responses=NOT_NOW)
def pause(by: MaySteerDeliveries, work: InWork, name: DestinationInPath) -> DestinationSummary:
    """Begin nothing new to a destination; what is running goes on."""
    return work.destinations.set_mode(by, name, "paused")


@router.post("/{name}/drain", responses=NOT_NOW)
def drain(by: MaySteerDeliveries, work: InWork, name: DestinationInPath) -> DestinationSummary:
    """Send what was decided until now; what is decided from now on waits."""
    return work.destinations.set_mode(by, name, "draining")


@router.post("/{name}/resume", responses=NOT_NOW)
def resume(by: MaySteerDeliveries, work: InWork, name: DestinationInPath) -> DestinationSummary:
    """Send everything again, what was held back first."""
    return work.destinations.set_mode(by, name, "active")
