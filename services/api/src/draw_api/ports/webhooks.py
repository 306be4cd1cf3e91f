"""Ports of the webhooks, their deliveries, and the feed of changes."""

from collections.abc import Sequence
from typing import Any, Protocol

from draw_api.models.paging import Page
from draw_api.models.webhooks import (
    ChangeKind,
    Changes,
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookDelivery,
)


class ChangeRepository(Protocol):
    """The feed; entries become visible in the order of their numbers."""

    def after(self, since: int, kinds: Sequence[ChangeKind], limit: int) -> Changes:
        """Return the next entries."""


class WebhookRepository(Protocol):
    """Webhooks and their deliveries."""

    def all(self) -> Sequence[Webhook]:
        """Return every webhook."""

    def one(self, webhook_id: int) -> Webhook | None:
        """Return one webhook."""

    def disabled(self) -> int:
        """Return how many webhooks the suite itself has disabled."""

    def add(self, new: NewWebhook, secret: str, created_by: str) -> int:
        """Add a webhook and return its id."""

    def change(self, webhook_id: int, values: dict[str, Any]) -> None:
        """Write these columns."""

    def hold(self, webhook_id: int) -> None:
        """Keep a webhook as it is until the commit."""

    def remove(self, webhook_id: int) -> None:
        """Delete a webhook with its deliveries."""

    def deliveries(
        self, webhook_id: int, state: DeliveryState | None, cursor: str | None, limit: int
    ) -> Page[WebhookDelivery]:
        """Return a page of deliveries, newest first."""

    def replay(self, webhook_id: int, delivery_id: int | None) -> int:
        """Make one delivery, or all dead ones, due now; return how many."""
