"""Ports of the status page: replicas, totals, disk and queues."""

from typing import Protocol

from draw_api.models.status import Totals
from draw_api.ports.control import ReplicaRepository
from draw_api.ports.dead_letters import KnownQueueDepths
from draw_shared.storage.space import DiskRoom


class StatusRepository(ReplicaRepository, Protocol):
    """Reads the state of the suite from the database."""

    def totals(self) -> Totals:
        """Return sums over the index."""


class HostStatus(KnownQueueDepths, Protocol):
    """The state of disk and broker; an answer does without either."""

    def disk(self) -> DiskRoom | None:
        """Return the room on the storage volume, or None when this process cannot see it."""
