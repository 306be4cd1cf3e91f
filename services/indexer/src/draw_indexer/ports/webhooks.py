"""Ports of the webhook deliveries: their table, and the way to the receivers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from draw_indexer.models import ClaimedDelivery, DeliveryResult, DisabledWebhook, WebhookAnswer


class DeliveryRepository(Protocol):
    """The table of deliveries."""

    def fan_out(self) -> int:
        """Make deliveries of changes that are new, and return how many changes were read."""

    def claim(self, room: Mapping[int, int], usual_room: int) -> Sequence[ClaimedDelivery]:
        """Return due deliveries, as many of each webhook as it has room for, nobody else's now."""

    def note(self, results: Sequence[DeliveryResult]) -> Sequence[DisabledWebhook]:
        """Note what came of deliveries, and return webhooks that are told nothing more."""


class DeliverySender(Protocol):
    """The way to the receivers."""

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        answered: Callable[[WebhookAnswer], None],
    ) -> None:
        """Send without waiting; `answered` is called once, whatever the receiver does."""
