"""Ports of destinations: how they do, and what they name."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from draw_api.models.destinations import DestinationMode


@dataclass(frozen=True, slots=True)
class DestinationHealth:
    """What is kept of a destination; without a row it is active and nothing was sent yet."""

    mode: DestinationMode = "active"
    mode_since: datetime | None = None
    mode_by: str = ""
    failures: int = 0
    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    last_error_at: datetime | None = None
    last_error: str = ""
    in_force: str = ""


@dataclass(frozen=True, slots=True)
class DestinationQueue:
    """The deliveries of a destination in one state."""

    state: str
    number: int
    oldest_seconds: float


class DestinationRepository(Protocol):
    """How destinations do, by name."""

    def health(self) -> Mapping[str, DestinationHealth]:
        """Return what is kept of each destination."""

    def queues(self) -> Mapping[str, Sequence[DestinationQueue]]:
        """Return the deliveries that are not over."""

    def delivered_last_hour(self) -> Mapping[str, int]:
        """Return how many deliveries have arrived in the last hour."""

    def last_delivered(self, names: Collection[str]) -> Mapping[str, datetime | None]:
        """Return when the newest delivery that has arrived did so, by destination."""

    def node_addresses(self) -> Mapping[str, str]:
        """Return the address of each remote node by its name."""

    def set_mode(self, name: str, mode: DestinationMode, by: str) -> None:
        """Set what a destination takes from now on; the same mode changes nothing."""


class NamedByRules(Protocol):
    """What a document of the rules names."""

    def nodes(self, names: Collection[str]) -> Collection[str]:
        """Return which of these remote nodes there are; they stay until the commit."""

    def webhooks(self, ids: Collection[int]) -> Collection[int]:
        """Return which of these webhooks there are; they stay until the commit."""
