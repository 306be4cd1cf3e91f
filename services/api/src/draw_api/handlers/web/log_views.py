"""The transaction log by association (tab "DICOM") and by who did what (tab "Audit")."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from draw_api.handlers.web.languages import N_
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, address, page
from draw_api.handlers.web.parameters import (
    ON_A_PAGE,
    Cursor,
    SearchText,
    long_before,
    moment_of,
    picked,
)
from draw_api.handlers.web.visitor import page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.paging import Page
from draw_api.models.peers import RejectedPeer
from draw_api.models.transactions import (
    AssociationActivity,
    AssociationCriteria,
    AssociationSummary,
    AssociationTrouble,
    AuditCriteria,
    AuditGroup,
    AuditLine,
)
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadTransactions = Annotated[Principal, page_requires(Permission.READ_TRANSACTIONS)]

SHOWN_REJECTED: Final = 3
REJECTED: Final = timedelta(days=1)
"""How long before the end of the time those are shown, without a beginning."""
OF_LINES: Final = frozenset(
    ("kind", "outcome", "ae_title", "peer_address", "uid", "status", "actor")
)
"""Filters of the list of lines, which was at the address of associations."""
SPANS: Final = {"hour": timedelta(hours=1), "week": timedelta(days=7)}
TODAY: Final = "today"
SPAN_NAMES: Final = (("hour", N_("Last hour")), (TODAY, N_("Today")), ("week", N_("7 days")))
TROUBLES: Final = (
    (AssociationTrouble.ANY, N_("Problems only")),
    (AssociationTrouble.REFUSED, N_("Refused")),
)
ACTIVITIES: Final = (
    (AssociationActivity.STORED, N_("Stored images")),
    (AssociationActivity.QUERIED, N_("Queried")),
    (AssociationActivity.RETRIEVED, N_("Retrieved images")),
    (AssociationActivity.VERIFIED, N_("Verified the connection")),
)
GROUPS: Final = (
    (AuditGroup.DELETED, N_("Deleted")),
    (AuditGroup.VIEWED, N_("Viewed")),
    (AuditGroup.DOWNLOADED, N_("Downloaded")),
    (AuditGroup.CONFIGURATION, N_("Configuration")),
    (AuditGroup.USERS, N_("Users and sign-in")),
    (AuditGroup.JOBS, N_("Jobs, queries and holds")),
)
ACTIONS: Final = {
    "study.delete": N_("Deleted a study"),
    "storage.reconcile": N_("Repaired the index"),
    "series.view": N_("Viewed a series"),
    "instance.view": N_("Viewed an image"),
    "study.download": N_("Downloaded a study"),
    "instance.download": N_("Downloaded an image"),
    "transactions.export": N_("Exported the transactions"),
    "audit.export": N_("Exported the audit trail"),
    "config.update": N_("Changed the configuration"),
    "routing.update": N_("Changed the rules of routing"),
    "routing.replay": N_("Replayed the last days with rules"),
    "routing.batch_preview": N_("Looked at what rules would do with the archive"),
    "routing.batch": N_("Had rules applied to the archive"),
    "routing.batch_cancel": N_("Ended a batch of rules"),
    "routing.explain": N_("Looked at what rules say about a series"),
    "delivery.retry": N_("Retried a delivery"),
    "delivery.give-up": N_("Gave a delivery up"),
    "destination.pause": N_("Paused a destination"),
    "destination.drain": N_("Let a destination drain"),
    "destination.resume": N_("Resumed a destination"),
    "ae_title.create": N_("Added an AE title"),
    "ae_title.update": N_("Changed an AE title"),
    "ae_title.delete": N_("Removed an AE title"),
    "peer.allow": N_("Allowed a rejected peer"),
    "node.create": N_("Added a remote node"),
    "node.update": N_("Changed a remote node"),
    "node.delete": N_("Removed a remote node"),
    "node.pause": N_("Paused a remote node"),
    "node.resume": N_("Resumed a remote node"),
    "node.pin": N_("Pinned a certificate"),
    "webhook.create": N_("Added a webhook"),
    "webhook.update": N_("Changed a webhook"),
    "webhook.delete": N_("Removed a webhook"),
    "service.start": N_("Started a service"),
    "service.stop": N_("Stopped a service"),
    "service.restart": N_("Restarted a service"),
    "session.create": N_("Signed in"),
    "session.end": N_("Signed out"),
    "user.create": N_("Added a user"),
    "user.update": N_("Changed a user"),
    "user.delete": N_("Removed a user"),
    "user.password_change": N_("Changed the own password"),
    "user.password_reset": N_("Set a user's password"),
    "token.create": N_("Created a token"),
    "token.revoke": N_("Revoked a token"),
    "job.create": N_("Created a job"),
    "job.retry": N_("Retried a job"),
    "job.cancel": N_("Cancelled a job"),
    "query.create": N_("Queried remote nodes"),
    "query.cancel": N_("Cancelled a query"),
    "query.delete": N_("Removed a query"),
    "batch-query.create": N_("Queried remote nodes by a list"),
    "retrieve.create": N_("Created a retrieve"),
    "retrieve.retry": N_("Retried a retrieve"),
    "retrieve.cancel": N_("Cancelled a retrieve"),
    "retrieve.prioritise": N_("Set the priority of a retrieve"),
    "study.hold": N_("Held a study"),
    "study.release": N_("Released a study"),
    "dead-letter.replay": N_("Sent failed messages again"),
    "dead-letter.discard": N_("Discarded failed messages"),
    "transactions.verify": N_("Verified the transaction log"),
}
"""What an action is called; others are shown by their name."""
Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class AssociationListView(View):
    """A page of associations, below those that were rejected."""

    template: ClassVar[str] = "transactions/associations.html.jinja"
    fragment: ClassVar[str] = "transactions/_associations.html.jinja"

    found: Page[AssociationSummary]
    criteria: AssociationCriteria
    span: str
    cursor: str
    rejected: Page[RejectedPeer]
    """The newest rejected peers, on the first page only."""
    spans: ClassVar[tuple[tuple[str, str], ...]] = SPAN_NAMES
    troubles: ClassVar[tuple[tuple[AssociationTrouble, str], ...]] = TROUBLES
    activities: ClassVar[tuple[tuple[AssociationActivity, str], ...]] = ACTIVITIES

    @property
    def since(self) -> str:
        """The beginning of what is shown, as a picker has it; empty for a moving span."""
        return "" if self.span in SPANS else picked(self.criteria.since)

    @property
    def until(self) -> str:
        """The end of what is shown, as a picker has it."""
        return picked(self.criteria.until)

    @property
    def filtered(self) -> bool:
        """Whether anything is filtered."""
        return self.criteria != AssociationCriteria()

    @property
    def rejections(self) -> str:
        """The address of the peers that were rejected in the same time."""
        c = self.criteria
        return address(
            "/ae-titles/rejected",
            since=c.since.isoformat() if c.since else "",
            until=c.until.isoformat() if c.until else "",
            peer=c.peer,
        )

    def filters(self, path: str = "/transactions", **changed: str) -> str:
        """Return the address of these filters at a path, some of them changed."""
        c = self.criteria
        given = {
            "trouble": c.trouble or "",
            "activity": c.activity or "",
            "peer": c.peer,
            "span": self.span,
            "since": self.since,
            "until": self.until,
        }
        return address(path, **(given | changed))


@dataclass(frozen=True, slots=True)
class LiveAssociationsView(AssociationListView):
    """The same, as a stream sends it."""

    fragment: ClassVar[str] = "transactions/_activity.html.jinja"


@dataclass(frozen=True, slots=True)
class AuditView(View):
    """A page of what users did."""

    template: ClassVar[str] = "transactions/audit.html.jinja"
    fragment: ClassVar[str] = "transactions/_audit.html.jinja"

    found: Page[AuditLine]
    criteria: AuditCriteria
    sees_deleted: bool
    """Whether the visitor may see whose studies were deleted."""
    groups: ClassVar[tuple[tuple[AuditGroup, str], ...]] = GROUPS
    actions: ClassVar[dict[str, str]] = ACTIONS

    @property
    def since(self) -> str:
        """The beginning of what is shown, as a picker has it, in UTC."""
        return picked(self.criteria.since)

    @property
    def until(self) -> str:
        """The end of what is shown, as a picker has it, in UTC."""
        return picked(self.criteria.until)

    @property
    def export(self) -> str:
        """The address of the same lines as CSV."""
        c = self.criteria
        return address(
            "/api/v1/transactions/audit.csv",
            user=c.user,
            group=c.group or "",
            patient_id=c.patient_id,
            since=c.since.isoformat() if c.since else "",
            until=c.until.isoformat() if c.until else "",
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for on the tab of associations."""

    criteria: AssociationCriteria
    span: str
    cursor: str | None


def _asked(
    trouble: SearchText = "",
    activity: SearchText = "",
    peer: SearchText = "",
    span: SearchText = "",
    since: SearchText = "",
    until: SearchText = "",
    cursor: Cursor = None,
) -> _Asked:
    now, begin = datetime.now(UTC), moment_of(since)
    if begin is not None or span not in {*SPANS, TODAY}:
        # The browser says when its day begins.
        span = TODAY if span == TODAY else ""
    else:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        begin = now - SPANS[span] if span in SPANS else midnight
    criteria = AssociationCriteria(
        _chosen(AssociationTrouble, trouble),
        _chosen(AssociationActivity, activity),
        peer.strip(),
        begin,
        moment_of(until),
    )
    return _Asked(criteria, span, cursor)


AskedFor = Annotated[_Asked, Depends(_asked)]


def _chosen(kind: type[Choice], text: str) -> Choice | None:
    return next((one for one in kind if one == text), None)


def _look(work: UnitOfWork, asked: _Asked) -> LiveAssociationsView:
    # Who was rejected did nothing else in that association.
    refused = asked.criteria.trouble is AssociationTrouble.REFUSED
    whole = asked.cursor is None and not refused and asked.criteria.activity is None
    return LiveAssociationsView(
        work.log_views.associations(asked.criteria, asked.cursor, ON_A_PAGE),
        asked.criteria,
        asked.span,
        asked.cursor or "",
        _rejected(work, asked.criteria) if whole else Page(items=[]),
    )


def _rejected(work: UnitOfWork, criteria: AssociationCriteria) -> Page[RejectedPeer]:
    """Return the newest rejected peers: of the time that is asked for, or of the last day."""
    since = criteria.since or long_before(criteria.until or datetime.now(UTC), REJECTED)
    return work.peers.rejected(since, criteria.until, None, SHOWN_REJECTED, peer=criteria.peer)


@router.get("/transactions")
def associations(
    request: Request, by: MayReadTransactions, work: InWork, asked: AskedFor
) -> Response:
    """List associations, newest first; filters of lines lead to the list of lines."""
    if not OF_LINES.isdisjoint(request.query_params):
        return RedirectResponse(f"/transactions/lines?{request.url.query}")
    found = _look(work, asked)
    view = AssociationListView(
        found.found, found.criteria, found.span, found.cursor, found.rejected
    )
    return page(request, by, view)


@router.get("/live/transactions", dependencies=[costs(RequestCost.STREAMS)])
def live(request: Request, _: MayReadTransactions, asked: AskedFor) -> StreamingResponse:
    """Stream the associations."""
    return stream(
        request,
        lambda work: _look(work, asked),
        "/transactions",
        Permission.READ_TRANSACTIONS,
    )


@router.get("/transactions/audit")
def audit(  # noqa: PLR0917 - query parameters, given by name
    request: Request,
    by: MayReadTransactions,
    work: InWork,
    user: SearchText = "",
    group: SearchText = "",
    patient_id: SearchText = "",
    since: SearchText = "",
    until: SearchText = "",
    cursor: Cursor = None,
) -> Response:
    """List who did what to whom, newest first."""
    criteria = AuditCriteria(
        user.strip(),
        _chosen(AuditGroup, group),
        patient_id.strip(),
        moment_of(since),
        moment_of(until),
    )
    found = work.log_views.audit_lines(by, criteria, cursor, ON_A_PAGE)
    return page(request, by, AuditView(found, criteria, may(by, Permission.READ_DELETIONS)))
