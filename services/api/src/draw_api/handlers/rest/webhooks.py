"""The change feed, and webhooks that deliver it to other programs."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, RowId
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.webhooks import (
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
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses

router = APIRouter(prefix="/api/v1", tags=["integration"])

MayReadChanges = Annotated[Principal, requires(Permission.READ_CHANGES)]
MayManageWebhooks = Annotated[Principal, requires(Permission.MANAGE_WEBHOOKS)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)


@router.get("/changes")
def changes(
    _: MayReadChanges,
    work: InWork,
    since: Annotated[
        int, Query(ge=0, le=2**63 - 1, description="`next_since` of the answer before; 0: all")
    ] = 0,
    kind: Annotated[list[ChangeKind] | None, Query(description="only these kinds")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Changes:
    """Return the changes in order; a client that remembers `next_since` misses none."""
    return work.webhooks.changes(since, kind or [], limit)


@router.get("/webhooks")
def webhooks(_: MayManageWebhooks, work: InWork) -> list[Webhook]:
    """Return every webhook."""
    return list(work.webhooks.all())


@router.post("/webhooks", status_code=HTTPStatus.CREATED)
def add_webhook(
    response: Response, by: MayManageWebhooks, work: InWork, body: NewWebhook
) -> WebhookMade:
    """Send changes to a URL from now on; an omitted secret is created and shown, only this once."""
    made = work.webhooks.add(by, body)
    response.headers["Location"] = f"{router.prefix}/webhooks/{made.id}"
    return made


@router.get("/webhooks/{webhook_id}", responses=NOT_FOUND)
def webhook(_: MayManageWebhooks, work: InWork, webhook_id: RowId) -> Webhook:
    """Return one webhook."""
    return work.webhooks.one(webhook_id)


@router.patch("/webhooks/{webhook_id}", responses=NOT_FOUND)
def change_webhook(
    by: MayManageWebhooks, work: InWork, webhook_id: RowId, body: WebhookChange
) -> Webhook:
    """Change a webhook; omitted fields stay as they are."""
    return work.webhooks.change(by, webhook_id, body)


@router.delete("/webhooks/{webhook_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_FOUND)
def remove_webhook(by: MayManageWebhooks, work: InWork, webhook_id: RowId) -> None:
    """Delete a webhook with its deliveries."""
    work.webhooks.remove(by, webhook_id)


@router.post("/webhooks/{webhook_id}/secret", responses=NOT_FOUND)
def renew_secret(by: MayManageWebhooks, work: InWork, webhook_id: RowId) -> SecretMade:
    """Create a new secret and show it, only this once; the previous one also signs for 24 hours."""
    return work.webhooks.renew_secret(by, webhook_id)


@router.get("/webhooks/{webhook_id}/deliveries", responses=NOT_FOUND)
def deliveries(
    _: MayManageWebhooks,
    work: InWork,
    webhook_id: RowId,
    state: Annotated[DeliveryState | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[WebhookDelivery]:
    """Return the deliveries of a webhook and their results, newest first."""
    return work.webhooks.deliveries(webhook_id, state, cursor, limit)


@router.post("/webhooks/{webhook_id}/deliveries/replay", responses=NOT_FOUND)
def replay_dead(by: MayManageWebhooks, work: InWork, webhook_id: RowId) -> Replayed:
    """Send all dead deliveries of a webhook again."""
    return work.webhooks.replay(by, webhook_id, None)


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", responses=NOT_FOUND)
def replay(by: MayManageWebhooks, work: InWork, webhook_id: RowId, delivery_id: RowId) -> Replayed:
    """Send one delivery again, whatever its state."""
    return work.webhooks.replay(by, webhook_id, delivery_id)
