"""Ports of starting, stopping and restarting services: the desired states, and the replicas."""

from collections.abc import Sequence
from typing import Protocol

from draw_api.models.control import Control
from draw_api.models.status import ReplicaRow


class ControlRepository(Protocol):
    """The rows that say what is wanted."""

    def controls(self) -> Sequence[Control]:
        """Return every row."""

    def put(self, service: str, replica: str, wanted: str, by: str, *, restart: bool) -> None:
        """Want this of a replica, or of all and then of each that was told something else."""


class ReplicaRepository(Protocol):
    """The heartbeats."""

    def replicas(self) -> Sequence[ReplicaRow]:
        """Return every replica that was seen within a day."""
