"""Ports of the AE titles that may call, the peers that were rejected, and the configuration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from draw_api.models.config import ConfigVersion
from draw_api.models.paging import Page
from draw_api.models.peers import AllowedAeTitle, AllowedAeTitleSettings, RejectedPeer
from draw_shared.access.principals import Principal
from draw_shared.contracts.config_snapshot import AllowedPeer


@dataclass(frozen=True, slots=True)
class CallerTraffic:
    """What a calling AE title at one address did lately."""

    calling_ae: str
    peer_address: str
    last_seen: datetime
    associations: int
    objects_in_24_hours: int


class AeTitleRepository(Protocol):
    """The rows of the list of AE titles."""

    def page(self, cursor: str | None, limit: int) -> Page[AllowedAeTitle]:
        """Return a page of AE titles, in the order in which they were added."""

    def one(self, row_id: int) -> AllowedAeTitle | None:
        """Return one by its id."""

    def by_title(self, ae_title: str) -> AllowedAeTitle | None:
        """Return one by its AE title; nobody can add it until the commit."""

    def add(self, settings: AllowedAeTitleSettings) -> int | None:
        """Add an AE title and return its id, or None when it exists already."""

    def replace(self, row_id: int, settings: AllowedAeTitleSettings) -> bool | None:
        """Replace all settings; False when another row has the AE title, None without a row."""

    def remove(self, row_id: int) -> str | None:
        """Delete an AE title and return it, or None when there is no such row."""

    def active(self) -> Sequence[AllowedPeer]:
        """Return the AE titles that the receiver allows."""

    def loopback_reads(self) -> bool:
        """Return whether peers on a receiver's own machine may read without being on the list."""


class RejectionRepository(Protocol):
    """The recorded rejections."""

    def rejected(
        self,
        since: datetime,
        until: datetime | None,
        cursor: str | None,
        limit: int,
        *,
        peer: str = "",
    ) -> Page[RejectedPeer]:
        """Return a page of the peers rejected in this time, last seen first.

        A peer is an AE title at an address with the reason of its rejection; `peer` may be one of
        the first two.
        """


class CallerRepository(Protocol):
    """The peers that associated."""

    def callers(self, days: int) -> Sequence[CallerTraffic]:
        """Return who associated in the last days, by AE title and address, last seen first."""

    def last_seen(self, ae_titles: Collection[str]) -> Mapping[str, datetime]:
        """Return when each of these AE titles called last."""


class AccessConfiguration(Protocol):
    """The configuration in force."""

    def current(self) -> ConfigVersion:
        """Return the version in force."""

    def allow_address(self, by: Principal, network: str) -> bool:
        """Add a network to the allowed ones; False when addresses are not restricted."""
