"""Ports of webhook deliveries: their table, and sending to the receivers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from draw_indexer.models import ClaimedDelivery, DeliveryResult, DisabledWebhook, WebhookAnswer


class DeliveryRepository(Protocol):
    """The table of deliveries."""

    def fan_out(self) -> int:
        """Create deliveries of new changes, and return how many changes were read."""

    def claim(self, room: Mapping[int, int], usual_room: int) -> Sequence[ClaimedDelivery]:
        """Claim due deliveries, for each webhook as many as it has room for."""

    def note(self, results: Sequence[DeliveryResult]) -> Sequence[DisabledWebhook]:
        """Record the results of deliveries, and return the webhooks that are now disabled."""


class DeliverySender(Protocol):
    """Sends to the receivers."""

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        answered: Callable[[WebhookAnswer], None],
    ) -> None:
        """Send without waiting; call `answered` once, whatever the receiver does."""
