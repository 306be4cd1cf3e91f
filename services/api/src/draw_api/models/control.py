"""The desired state of services, and the actual state of each replica."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from draw_api.models.paging import Answer
from draw_api.models.status import Replica

DesiredState = Literal["running", "stopped"]


class ServiceName(StrEnum):
    """The services of the suite."""

    SCP = "scp"
    INDEXER = "indexer"
    QR_WORKER = "qr-worker"
    DICOMWEB = "dicomweb"
    API = "api"


class ControlAction(StrEnum):
    """What an operator can order a service to do."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Control:
    """One row of `service_controls`; an empty replica means all."""

    service: str
    replica: str
    desired_state: DesiredState
    restart_generation: int
    updated_at: datetime
    updated_by: str


class ControlledReplica(Replica):
    """One replica with its desired state."""

    desired_state: DesiredState = Field(examples=["running"])


class ServiceState(Answer):
    """One service: its desired state, and its replicas."""

    service: ServiceName = Field(examples=["scp"])
    desired_state: DesiredState = Field(
        description="of replicas without an order of their own", examples=["running"]
    )
    controllable: bool = Field(description="false for the API itself, and for DICOMweb")
    changed_at: datetime | None = Field(description="when it last got an order")
    changed_by: str = Field(examples=["admin"])
    active_associations: int
    replicas: list[ControlledReplica] = Field(description="without those that ended a day ago")
