"""How the suite is doing: replicas, what came in, room, backlog."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from draw_api.models.status import (
    Backlog,
    DiskUsage,
    Received,
    Replica,
    ReplicaRow,
    Status,
    Storage,
    Totals,
)
from draw_shared.contracts.server_config import BYTES_PER_GB

GONE_AFTER_SECONDS: Final = 10.0
"""A replica whose heartbeat is older is shown as gone; they beat every two seconds."""

STOPPED: Final = "stopped"
ENDED: Final = "ended"
GONE: Final = "gone"
BACKLOG_DETAIL: Final = "backlog"
"""Key of `service_replicas.details` under which a receiver says what it has yet to announce."""


class Observations(Protocol):
    """What the database says."""

    def replicas(self) -> Sequence[ReplicaRow]:
        """Return every replica that was ever seen and not forgotten."""

    def totals(self) -> Totals:
        """Return sums over the index."""

    def max_storage_gb(self) -> int:
        """Return the quota in force."""


class Surroundings(Protocol):
    """What disk and broker say; neither is needed for an answer."""

    def disk(self) -> DiskUsage | None:
        """Return the room on the storage volume, or None when it cannot be seen from here."""

    def queue_depths(self) -> Mapping[str, int]:
        """Return the messages waiting, by queue; empty when the broker does not answer."""


class StatusReport:
    """Puts together what operators look at first."""

    def __init__(
        self,
        observations: Observations,
        surroundings: Surroundings,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._observations = observations
        self._surroundings = surroundings
        self._clock = clock

    def status(self) -> Status:
        """Return the suite's state now."""
        replicas = [described(row) for row in self._observations.replicas()]
        totals = self._observations.totals()
        disk = self._surroundings.disk()
        return Status(
            checked_at=self._clock(),
            active_associations=sum(replica.active_associations for replica in replicas),
            received=Received(objects=totals.received_objects, size_bytes=totals.received_bytes),
            storage=Storage(
                studies=totals.stored_studies,
                instances=totals.stored_instances,
                used_bytes=totals.stored_bytes,
                limit_bytes=self._observations.max_storage_gb() * BYTES_PER_GB,
                disk_total_bytes=disk.total_bytes if disk else None,
                disk_free_bytes=disk.free_bytes if disk else None,
            ),
            backlog=Backlog(
                unannounced_objects=sum(_unannounced(replica) for replica in replicas),
                queues=dict(self._surroundings.queue_depths()),
            ),
            replicas=replicas,
        )


def described(row: ReplicaRow) -> Replica:
    """Return what is shown of a replica; one that is not there has no uptime or associations."""
    missing = row.state != ENDED and row.heartbeat_age_seconds > GONE_AFTER_SECONDS
    state = GONE if missing else row.state
    there = state not in {GONE, ENDED}
    return Replica(
        replica=row.replica,
        service=row.service,
        host=row.host,
        address=row.address,
        state=state,
        started_at=row.started_at,
        uptime_seconds=row.uptime_seconds if there and state != STOPPED else 0.0,
        heartbeat_at=row.heartbeat_at,
        active_associations=row.active_associations if there else 0,
        config_version=row.config_version,
        last_error=row.last_error,
        details=row.details,
    )


def _unannounced(replica: Replica) -> int:
    # A receiver that is gone still has its last known backlog in its spool folder.
    found = replica.details.get(BACKLOG_DETAIL, 0)
    return found if isinstance(found, int) else 0
