"""Ports of starting, stopping and restarting services: the desired states, and the replicas."""

from collections.abc import Sequence
from typing import Protocol

from draw_api.models.control import Control
from draw_api.models.status import ReplicaRow


class ControlRepository(Protocol):
    """The rows of desired states."""

    def controls(self) -> Sequence[Control]:
        """Return every row."""

    def put(self, service: str, replica: str, wanted: str, by: str, *, restart: bool) -> None:
        """Set the desired state of a replica, or of all, even of those with their own state."""


class ReplicaRepository(Protocol):
    """The heartbeats of replicas."""

    def replicas(self) -> Sequence[ReplicaRow]:
        """Return every replica with a heartbeat within a day."""
