"""Port of deliveries, as operators read and steer them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from draw_api.models.deliveries import (
    DeliveryCriteria,
    FailedDeliveries,
    RoutedDelivery,
    RoutedDeliveryDetail,
)
from draw_api.models.paging import Page


@dataclass(frozen=True, slots=True)
class SteeredDelivery:
    """A delivery as far as it matters to whoever steers it."""

    id: int
    destination: str
    target: str
    state: str
    study_instance_uid: str
    created_at: datetime
    delivered: int
    job_id: UUID | None
    job_state: str | None


class RoutedDeliveryRepository(Protocol):
    """The rows of deliveries."""

    def page(
        self, criteria: DeliveryCriteria, *, oldest_first: bool, cursor: str | None, limit: int
    ) -> Page[RoutedDelivery]:
        """Return a page of deliveries, in the order in which they were made or its reverse."""

    def failed(self, since: datetime, most: int) -> list[FailedDeliveries]:
        """Return what has failed since then and nobody gave up, by destination, newest first.

        In each state so many are counted, the newest ones.
        """

    def one(self, delivery_id: int) -> RoutedDeliveryDetail | None:
        """Return one delivery."""

    def hold(self) -> None:
        """Keep the worker from changing any delivery until the commit."""

    def steered(self, ids: Sequence[int]) -> Sequence[SteeredDelivery]:
        """Return those of these deliveries that there are, oldest first."""

    def restart(self, delivery_id: int, give_up_after_days: int) -> None:
        """Make a delivery that has ended pending again."""

    def hasten(self, delivery_id: int) -> None:
        """Let a delivery that waits be tried at once, if nothing else holds it back."""

    def probe(self, names: Sequence[str]) -> None:
        """Let destinations that rest after failures be tried at once."""

    def end(self, delivery_id: int, state: str, error: str) -> None:
        """End a delivery; its webhook is not told any more."""
