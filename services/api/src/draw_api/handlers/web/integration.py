"""The change feed and webhooks, with the result of each delivery."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final, get_args

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import (
    FormField,
    fields_of,
    fingerprint,
    require_unchanged,
    validate_form,
)
from draw_api.handlers.web.languages import N_, _, said
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, RowId
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.texts import whole_number
from draw_api.models.webhooks import (
    USUAL_KINDS,
    Change,
    ChangeKind,
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookChange,
    WebhookDelivery,
)
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound

router = APIRouter(include_in_schema=False)

MayReadChanges = Annotated[Principal, page_requires(Permission.READ_CHANGES)]
MayManageWebhooks = Annotated[Principal, page_requires(Permission.MANAGE_WEBHOOKS)]
ManageWebhooksAct = Annotated[SubmittedForm, form_requires(Permission.MANAGE_WEBHOOKS)]

KINDS: Final[tuple[str, ...]] = get_args(ChangeKind)
STATES: Final[tuple[str, ...]] = get_args(DeliveryState)
NEW: Final = "/webhooks/new"


@dataclass(frozen=True, slots=True)
class ChangesView(View):
    """The feed, the latest change first, and its webhooks."""

    template: ClassVar[str] = "changes/list.html.jinja"
    fragment: ClassVar[str] = "changes/_list.html.jinja"

    found: Page[Change]
    kind: str
    webhooks: Sequence[Webhook]
    kinds: ClassVar[tuple[str, ...]] = KINDS


@dataclass(frozen=True, slots=True)
class WebhookFormView(View):
    """The form of a webhook."""

    template: ClassVar[str] = "changes/form.html.jinja"

    title: str
    action: str
    fields: list[FormField]
    chosen: frozenset[str]
    kinds_error: str
    problem: str = ""
    opened: str = ""
    """What the form was filled in with; empty for a new webhook."""
    kinds: ClassVar[tuple[str, ...]] = KINDS


@dataclass(frozen=True, slots=True)
class WebhookView(View):
    """A webhook and its deliveries."""

    template: ClassVar[str] = "changes/detail.html.jinja"

    webhook: Webhook
    deliveries: Page[WebhookDelivery]
    state: str
    states: ClassVar[tuple[str, ...]] = STATES


@dataclass(frozen=True, slots=True)
class SecretView(View):
    """A webhook's secret; only now is it shown."""

    template: ClassVar[str] = "changes/secret.html.jinja"

    webhook: Webhook
    secret: str


@router.get("/changes")
def changes(
    request: Request,
    by: MayReadChanges,
    work: InWork,
    kind: Annotated[str, Query(max_length=32)] = "",
    cursor: Cursor = None,
) -> Response:
    """Show the latest changes, and the webhooks."""
    known = kind if kind in KINDS else ""
    view = ChangesView(
        found=work.activity.changes(known, cursor, ON_A_PAGE),
        kind=known,
        webhooks=work.webhooks.all() if may(by, Permission.MANAGE_WEBHOOKS) else (),
    )
    return page(request, by, view)


@router.get("/webhooks/new")
def new(request: Request, by: MayManageWebhooks) -> Response:
    """Show the form for a new webhook."""
    values = {"active": True, "kinds": USUAL_KINDS}
    return page(request, by, _form(_("Add a webhook"), NEW, values))


@router.post("/webhooks/new")
def add(request: Request, act: ManageWebhooksAct, work: InWork) -> Response:
    """Send changes to a URL from now on."""
    values = _values(act.form)
    try:
        made = work.webhooks.add(act.by, validate_form(NewWebhook, values))
    except Invalid as error:
        view = _form(_("Add a webhook"), NEW, values, error)
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    if made.secret:
        return page(request, act.by, SecretView(made, made.secret), status=HTTPStatus.CREATED)
    return redirect(f"/webhooks/{made.id}", "webhook-added")


@router.get("/webhooks/{webhook_id}")
def webhook(
    request: Request,
    by: MayManageWebhooks,
    work: InWork,
    webhook_id: RowId,
    state: Annotated[DeliveryState | None, Query()] = None,
    cursor: Cursor = None,
) -> Response:
    """Show a webhook and its deliveries."""
    view = WebhookView(
        webhook=work.webhooks.one(webhook_id),
        deliveries=work.webhooks.deliveries(webhook_id, state, cursor, ON_A_PAGE),
        state=state or "",
    )
    return page(request, by, view)


@router.get("/webhooks/{webhook_id}/edit")
def edit(request: Request, by: MayManageWebhooks, work: InWork, webhook_id: RowId) -> Response:
    """Show the form of a webhook."""
    found = work.webhooks.one(webhook_id)
    opened = fingerprint(NewWebhook, found)
    here = f"/webhooks/{webhook_id}/edit"
    return page(request, by, _form(found.url, here, found.model_dump(), opened=opened))


@router.post("/webhooks/{webhook_id}/edit")
def save(request: Request, act: ManageWebhooksAct, work: InWork, webhook_id: RowId) -> Response:
    """Change a webhook; an empty secret stays as it was."""
    values = _values(act.form)
    action, opened = NEW, ""
    try:
        opened = fingerprint(NewWebhook, work.webhooks.one(webhook_id))
        action = f"/webhooks/{webhook_id}/edit"
        require_unchanged(act.form, opened)
        work.webhooks.change(act.by, webhook_id, validate_form(WebhookChange, values))
    except (Invalid, Conflict, NotFound) as error:
        view = _form(str(values["url"]), action, values, error, opened=opened)
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(f"/webhooks/{webhook_id}", "webhook-saved")


@router.get("/webhooks/{webhook_id}/secret")
def ask_secret(
    request: Request, by: MayManageWebhooks, work: InWork, webhook_id: RowId
) -> Response:
    """Ask for confirmation before a webhook gets a new secret."""
    found = work.webhooks.one(webhook_id)
    view = ConfirmView(
        title=_("Make a new secret?"),
        text=_(
            "Deliveries to %(url)s are signed with the new secret, and with the one before as well"
            " for 24 hours.",
            url=found.url,
        ),
        button=_("Make a new secret"),
        action=f"/webhooks/{webhook_id}/secret",
        back=f"/webhooks/{webhook_id}",
        danger=False,
    )
    return page(request, by, view)


@router.post("/webhooks/{webhook_id}/secret")
def renew_secret(
    request: Request, act: ManageWebhooksAct, work: InWork, webhook_id: RowId
) -> Response:
    """Create a new secret and show it, only this once."""
    made = work.webhooks.renew_secret(act.by, webhook_id)
    view = SecretView(work.webhooks.one(webhook_id), made.secret)
    return page(request, act.by, view)


@router.get("/webhooks/{webhook_id}/remove")
def ask_remove(
    request: Request, by: MayManageWebhooks, work: InWork, webhook_id: RowId
) -> Response:
    """Ask for confirmation before a webhook is deleted."""
    found = work.webhooks.one(webhook_id)
    view = ConfirmView(
        title=_("Remove this webhook?"),
        text=_("%(url)s gets no more deliveries; pending ones are deleted.", url=found.url),
        button=_("Remove the webhook"),
        action=f"/webhooks/{webhook_id}/remove",
        back=f"/webhooks/{webhook_id}",
    )
    return page(request, by, view)


@router.post("/webhooks/{webhook_id}/remove")
def remove(act: ManageWebhooksAct, work: InWork, webhook_id: RowId) -> Response:
    """Delete a webhook."""
    work.webhooks.remove(act.by, webhook_id)
    return redirect("/changes", "webhook-removed")


@router.post("/webhooks/{webhook_id}/replay")
def replay(act: ManageWebhooksAct, work: InWork, webhook_id: RowId) -> Response:
    """Send one delivery again, or all dead ones."""
    sent = act.form.text("delivery_id")
    delivery_id = whole_number(sent)
    if sent and delivery_id is None:
        raise NotFound("There is no such delivery.")
    work.webhooks.replay(act.by, webhook_id, delivery_id)
    return redirect(f"/webhooks/{webhook_id}", "deliveries-replayed")


def _values(form: CheckedForm) -> dict[str, Any]:
    values: dict[str, Any] = {
        "url": form.text("url"),
        "description": form.text("description"),
        "active": form.has("active"),
        "kinds": form.texts("kinds"),
    }
    if form.exact("secret"):
        values["secret"] = form.exact("secret")
    return values


def _form(
    title: str,
    action: str,
    values: dict[str, Any],
    error: Invalid | Conflict | NotFound | None = None,
    *,
    opened: str = "",
) -> WebhookFormView:
    problems: tuple[FieldProblem, ...] = error.problems if isinstance(error, Invalid) else ()
    fields = fields_of(
        NewWebhook,
        {**values, "secret": ""},
        problems,
        only=("url", "secret", "description", "active"),
        labels={"url": N_("URL"), "active": N_("Active")},
    )
    left_out = (
        _("Empty: one is made and shown") if action == NEW else _("Empty: it stays what it was")
    )
    fields = [_optional(one, left_out) if one.name == "secret" else one for one in fields]
    wrong = [said(p.message) for p in problems if p.field.startswith("kinds")]
    return WebhookFormView(
        title,
        action,
        fields,
        frozenset(values["kinds"]),
        "; ".join(wrong),
        said(str(error)) if isinstance(error, Conflict | NotFound) else "",
        opened,
    )


def _optional(field: FormField, left_out: str) -> FormField:
    return FormField(
        name=field.name,
        label=field.label,
        kind=field.kind,
        help=left_out,
        error=field.error,
        longest=field.longest,
    )
