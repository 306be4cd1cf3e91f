"""Manages the change feed and the webhooks that deliver it over HTTP."""

import base64
import secrets
from collections.abc import Sequence
from typing import Final

from pydantic import SecretStr

from draw_api.models.paging import Page
from draw_api.models.webhooks import (
    PREFIX,
    ChangeKind,
    Changes,
    DeliveryState,
    NewWebhook,
    Replayed,
    SecretMade,
    Webhook,
    WebhookChange,
    WebhookDelivery,
    WebhookMade,
)
from draw_api.ports.webhooks import ChangeRepository, WebhookRepository
from draw_api.services.destination_rules import DestinationRules
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import NotFound
from draw_shared.wording import message

KEY_BYTES: Final = 32


class WebhookService:
    """Manages webhooks for administrators."""

    def __init__(
        self,
        feed: ChangeRepository,
        table: WebhookRepository,
        rules: DestinationRules,
        audit: AuditTrail,
    ) -> None:
        self._feed = feed
        self._table = table
        self._rules = rules
        self._audit = audit

    def changes(self, since: int, kinds: Sequence[ChangeKind], limit: int) -> Changes:
        """Return the entries of the feed behind `since`, in order."""
        return self._feed.after(since, kinds, limit)

    def all(self) -> Sequence[Webhook]:
        """Return every webhook."""
        return self._table.all()

    def disabled(self) -> int:
        """Return how many webhooks get no deliveries because their receivers fail."""
        return self._table.disabled()

    def one(self, webhook_id: int) -> Webhook:
        """Return one webhook.

        Raises:
            NotFound: there is none of this number.
        """
        found = self._table.one(webhook_id)
        if found is None:
            raise NotFound(message("There is no such webhook."))
        return found

    def add(self, by: Principal, new: NewWebhook) -> WebhookMade:
        """Send changes to a URL from now on; without a secret, create one."""
        made = None if new.secret else _new_secret()
        given = new.secret.get_secret_value() if new.secret else ""
        webhook_id = self._table.add(new, made or given, by.actor)
        self._audit.record(by, "webhook.create", f"webhook {webhook_id}: {new.url}")
        return WebhookMade(**self.one(webhook_id).model_dump(), secret=made)

    def renew_secret(self, by: Principal, webhook_id: int) -> SecretMade:
        """Give a webhook a new secret; the previous one also signs for a day.

        Raises:
            NotFound: there is none of this number.
        """
        secret = _new_secret()
        self.change(by, webhook_id, WebhookChange(secret=SecretStr(secret)))
        return SecretMade(secret=secret)

    def change(self, by: Principal, webhook_id: int, wanted: WebhookChange) -> Webhook:
        """Change a webhook; pending deliveries use the new settings.

        Raises:
            NotFound: there is none of this number.
        """
        self.one(webhook_id)
        values = wanted.values()
        if values:
            self._table.change(webhook_id, values)
            self._audit.record(
                by, "webhook.update", f"webhook {webhook_id}: {', '.join(sorted(values))}"
            )
        return self.one(webhook_id)

    def remove(self, by: Principal, webhook_id: int) -> None:
        """Delete a webhook with its deliveries.

        Raises:
            NotFound: there is none of this number.
            Conflict: a destination of the rules in force is this webhook.
        """
        self._table.hold(webhook_id)
        found = self.one(webhook_id)
        self._rules.require_unnamed_webhook(webhook_id)
        self._table.remove(webhook_id)
        self._audit.record(by, "webhook.delete", f"webhook {webhook_id}: {found.url}")

    def deliveries(
        self, webhook_id: int, state: DeliveryState | None, cursor: str | None, limit: int
    ) -> Page[WebhookDelivery]:
        """Return a page of deliveries, newest first; NotFound for no such webhook."""
        self.one(webhook_id)
        return self._table.deliveries(webhook_id, state, cursor, limit)

    def replay(self, by: Principal, webhook_id: int, delivery_id: int | None) -> Replayed:
        """Send one delivery again, whatever its state, or all dead ones.

        Raises:
            NotFound: there is no such webhook or delivery.
        """
        self.one(webhook_id)
        number = self._table.replay(webhook_id, delivery_id)
        if delivery_id is not None and not number:
            raise NotFound(message("The webhook has no such delivery."))
        which = message("all dead") if delivery_id is None else str(delivery_id)
        self._audit.record(by, "webhook.replay", f"webhook {webhook_id}: {which}, {number}")
        return Replayed(deliveries=number)


def _new_secret() -> str:
    return f"{PREFIX}{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"
