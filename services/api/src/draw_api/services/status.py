"""The state of the suite: replicas, received objects, room, backlog."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from draw_api.models.status import (
    Backlog,
    DicomPort,
    Received,
    Replica,
    ReplicaRow,
    Status,
    Storage,
)
from draw_api.models.storage import StorageRules
from draw_api.ports.status import HostStatus, StatusRepository
from draw_shared.contracts.replicas import ENDED, REPLICA_TIMEOUT_SECONDS
from draw_shared.storage.space import room

STOPPED: Final = "stopped"
GONE: Final = "gone"
BACKLOG_DETAIL: Final = "backlog"
"""Key of `service_replicas.details` for a receiver's objects that are not yet announced."""
BOUND_DETAIL: Final = "dicom"
"""Key for the ports on which a receiver actually accepts associations."""
EARLIER_BOUND_DETAIL: Final = "bound"
"""Key for the same in the previous release, which had one port."""
USED_DETAIL: Final = "storage_used_bytes"
"""Key for the bytes that a receiver counts against the quota."""


class StatusService:
    """Collects what operators look at first."""

    def __init__(
        self,
        observations: StatusRepository,
        host_status: HostStatus,
        rules: Callable[[], StorageRules],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._observations = observations
        self._host_status = host_status
        self._rules = rules
        self._clock = clock

    def status(self) -> Status:
        """Return the suite's state now."""
        rows = self._observations.replicas()
        replicas = [describe_replica(row) for row in rows]
        totals = self._observations.totals()
        disk = self._host_status.disk()
        limits = self._rules().limits
        reported = reported_used_bytes(rows)
        used = totals.stored_bytes if reported is None else reported
        return Status(
            checked_at=self._clock(),
            active_associations=sum(replica.active_associations for replica in replicas),
            received=Received(objects=totals.received_objects, size_bytes=totals.received_bytes),
            storage=Storage(
                studies=totals.stored_studies,
                instances=totals.stored_instances,
                used_bytes=used,
                limit_bytes=limits.most_bytes,
                disk_total_bytes=disk.total_bytes if disk else None,
                disk_free_bytes=disk.free_bytes if disk else None,
                refusing=room(limits, used, disk).shortage,
            ),
            backlog=Backlog(
                unannounced_objects=sum(_unannounced(replica) for replica in replicas),
                queues=dict(self._host_status.queue_depths()),
            ),
            replicas=replicas,
        )


def describe_replica(row: ReplicaRow) -> Replica:
    """Return a replica for display; one that is gone has no uptime or associations."""
    missing = row.state != ENDED and row.heartbeat_age_seconds > REPLICA_TIMEOUT_SECONDS
    state = GONE if missing else row.state
    there = state not in {GONE, ENDED}
    ports = _bound(row) if there else []
    return Replica(
        replica=row.replica,
        service=row.service,
        host=row.host,
        address=row.address,
        dicom=next(iter(ports), None),
        dicom_ports=ports,
        state=state,
        started_at=row.started_at,
        uptime_seconds=row.uptime_seconds if there and state != STOPPED else 0.0,
        heartbeat_at=row.heartbeat_at,
        active_associations=row.active_associations if there else 0,
        config_version=row.config_version,
        last_error=row.last_error,
        details=row.details,
    )


def _bound(row: ReplicaRow) -> list[DicomPort]:
    # A receiver of the previous release has one port; an earlier one does not report any.
    earlier = row.details.get(EARLIER_BOUND_DETAIL)
    found = row.details.get(BOUND_DETAIL, [earlier] if earlier else [])
    return [DicomPort.model_validate(one) for one in found]


def reported_used_bytes(rows: Sequence[ReplicaRow]) -> int | None:
    """Return what live receivers count against the quota; None if none has counted.

    Receivers refuse by this number, which includes objects that are not indexed yet.
    """
    living = [row for row in rows if describe_replica(row).state not in {GONE, ENDED}]
    counted = [row.details.get(USED_DETAIL) for row in living]
    return max((number for number in counted if isinstance(number, int) and number), default=None)


def _unannounced(replica: Replica) -> int:
    # A receiver that is gone still has its last known backlog in its spool folder.
    found = replica.details.get(BACKLOG_DETAIL, 0)
    return found if isinstance(found, int) else 0
