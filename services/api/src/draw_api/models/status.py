"""The state of the suite."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field

from draw_api.models.paging import Answer
from draw_shared.storage.space import SpaceShortage


@dataclass(frozen=True, slots=True)
class ReplicaRow:
    """One row of `service_replicas` with its age by the database's clock."""

    replica: str
    service: str
    host: str
    address: str
    state: str
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_seconds: float
    uptime_seconds: float
    active_associations: int
    config_version: int
    last_error: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the index."""

    received_objects: int
    received_bytes: int
    stored_studies: int
    stored_instances: int
    stored_bytes: int


class DicomPort(Answer):
    """Where a receiver actually accepts associations, whatever its configuration says."""

    host: str = Field(examples=["192.0.2.10"])
    port: int = Field(examples=[11112])
    tls: bool


class Replica(Answer):
    """One process of a service as its heartbeat last described it."""

    replica: str = Field(examples=["pacs1-scp"])
    service: str = Field(examples=["scp"])
    host: str
    address: str = Field(description="where it listens for HTTP")
    dicom: DicomPort | None = Field(
        description="of a receiver: the port that is actually bound, of two the one without TLS;"
        " null: nobody can send to it"
    )
    dicom_ports: list[DicomPort] = Field(
        default=[], description="of a receiver: every port that is really bound, without TLS first"
    )
    state: str = Field(
        description="starting (also while it has no port to receive on), ready, draining, stopped"
        " (lives and waits to be started), ended, or gone when its heartbeat is missing",
        examples=["ready"],
    )
    started_at: datetime
    uptime_seconds: float = Field(description="since it works; 0 when it does not")
    heartbeat_at: datetime
    active_associations: int
    config_version: int
    last_error: str = Field(
        description="of a receiver: why the bound ports differ from the configuration",
        examples=["still on 0.0.0.0:11112 without TLS, because the key /tls/key.pem is not there"],
    )
    details: dict[str, Any]


class Received(Answer):
    """What was received and indexed in total."""

    objects: int
    size_bytes: int


class Storage(Answer):
    """What is stored, and the room on the disk; null where it cannot be read."""

    studies: int
    instances: int
    used_bytes: int = Field(description="as the receivers count it; without one, as indexed")
    limit_bytes: int | None = Field(description="the configured quota; null: there is none")
    disk_total_bytes: int | None
    disk_free_bytes: int | None
    refusing: SpaceShortage | None = Field(description="why C-STORE is answered 0xA700 now")


class Backlog(Answer):
    """Objects that are received but not yet indexed."""

    unannounced_objects: int = Field(description="durable, not yet handed to the broker")
    queues: dict[str, int] = Field(
        description="messages waiting, by queue; empty when the broker does not answer",
        examples=[{"indexer.instance-stored": 0}],
    )


class Status(Answer):
    """The whole suite at one moment."""

    checked_at: datetime
    active_associations: int
    received: Received
    storage: Storage
    backlog: Backlog
    replicas: list[Replica]
