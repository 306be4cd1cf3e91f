"""Reads, changes and rolls back the rules of routing."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from draw_api.models.access import Principal
from draw_api.models.config import StoredVersion
from draw_api.models.failures import (
    Conflict,
    FieldProblem,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from draw_api.models.paging import Page
from draw_api.models.routing import (
    RoutingHistoryEntry,
    RoutingQuestion,
    RoutingReasons,
    RoutingVersion,
    reasons,
    rule_changes,
)
from draw_api.models.wording import problems_of
from draw_api.ports.audit import AuditTrail
from draw_api.ports.routing import RoutingFactsSource, RoutingRepository
from draw_api.services.config import MAX_COMMENT_LENGTH, matches
from draw_shared.routing.document import RoutingDocument
from draw_shared.routing.evaluation import Evaluator
from draw_shared.wording import message

BEFORE_ALL: Mapping[str, Any] = {"rules": []}
"""The document before anybody has written rules."""


class RoutingService:
    """The rules of routing."""

    def __init__(
        self, versions: RoutingRepository, archive: RoutingFactsSource, audit: AuditTrail
    ) -> None:
        self._versions = versions
        self._archive = archive
        self._audit = audit

    def current(self) -> RoutingVersion:
        """Return the rules in force; version 0 without rules if nobody has written any."""
        newest = self._versions.newest()
        if newest is None:
            return RoutingVersion(
                version=0, created_at=None, created_by="", comment="", document=RoutingDocument()
            )
        return _to_version(newest)

    def version(self, number: int) -> RoutingVersion:
        """Return one version; NotFound when there is none."""
        found = self._versions.version(number)
        if found is None:
            raise NotFound(message("There is no such version of the rules."))
        return _to_version(found)

    def history(self, cursor: str | None, limit: int) -> Page[RoutingHistoryEntry]:
        """Return who changed what and when, newest first."""
        page = self._versions.page(cursor, limit)
        return Page(
            items=[_to_entry(stored, before or BEFORE_ALL) for stored, before in page.items],
            next_cursor=page.next_cursor,
        )

    def replace(
        self, by: Principal, document: RoutingDocument, if_match: str | None, comment: str = ""
    ) -> RoutingVersion:
        """Put a document in force as a new version; one that changes nothing makes none.

        Raises:
            PreconditionRequired: the client does not say which version it read.
            PreconditionFailed: another version is in force.
            Invalid: the document is not one; the fields say why.
        """
        newest = self._require_match(if_match)
        _check(document)
        return self._put(by, newest, document, comment)

    def restore(self, by: Principal, number: int, if_match: str | None) -> RoutingVersion:
        """Put the document of an earlier version in force again, as a new version.

        Raises:
            NotFound: there is no such version.
            PreconditionRequired: the client does not say which version it read.
            PreconditionFailed: another version is in force.
            Conflict: this release cannot read it.
        """
        newest = self._require_match(if_match)
        wanted = self.version(number).document
        return self._put(by, newest, wanted, message("version %(number)s again", number=number))

    def explain(self, by: Principal, question: RoutingQuestion) -> RoutingReasons:
        """Return what rules say about a series and why, and record who looked at its values.

        Raises:
            NotFound: the index has no such series.
            Invalid: the given document is none; the fields say why.
        """
        current, document = None, question.document
        if document is None:
            current = self.current()
            document = current.document
        else:
            _check(document, "document")
        evaluator = Evaluator(document)
        found = self._archive.series(question.series_instance_uid, evaluator.subjects)
        if found is None:
            raise NotFound(message("The index has no such series."))
        study, facts = found
        self._audit.record(
            by, "routing.explain", question.series_instance_uid, study_instance_uid=study
        )
        version = None if current is None else current.version
        return reasons(version, facts, evaluator.explain(facts))

    def _require_match(self, if_match: str | None) -> StoredVersion | None:
        if if_match is None:
            raise PreconditionRequired(
                message(
                    "Send If-Match with the ETag of the version that you read"
                    " (GET /api/v1/routing)."
                )
            )
        newest = self._versions.newest()
        number = 0 if newest is None else newest.version
        if not matches(if_match, number):
            raise PreconditionFailed(
                message(
                    "The rules have changed since you read them; version %(version)s is in force.",
                    version=number,
                )
            )
        return newest

    def _put(
        self,
        by: Principal,
        newest: StoredVersion | None,
        wanted: RoutingDocument,
        comment: str,
    ) -> RoutingVersion:
        document = wanted.stored()
        changes = rule_changes(BEFORE_ALL if newest is None else newest.document, document)
        if not changes.any:
            return self.current()
        number = 1 if newest is None else newest.version + 1
        if not self._versions.add(number, document, by.actor, comment[:MAX_COMMENT_LENGTH]):
            raise Conflict(message("Somebody else has changed the rules at the same moment."))
        self._audit.record(by, "routing.update", f"{number}: {changes.words}")
        return self.version(number)


def _check(document: RoutingDocument, place: str = "") -> None:
    """Raise Invalid when rules do not go together; `place` is where the document was sent."""
    try:
        document.check()
    except ValidationError as error:
        found = problems_of(error.errors())
        raise Invalid(
            [FieldProblem(f"{place}.{p.field}".lstrip("."), p.message) for p in found]
        ) from error


def _to_entry(stored: StoredVersion, before: Mapping[str, Any]) -> RoutingHistoryEntry:
    changes = rule_changes(before, stored.document)
    return RoutingHistoryEntry(
        version=stored.version,
        created_at=stored.created_at,
        created_by=stored.created_by,
        comment=stored.comment,
        added=changes.added,
        removed=changes.removed,
        changed=changes.changed,
        reordered=changes.reordered,
    )


def _to_version(stored: StoredVersion) -> RoutingVersion:
    """Return a version; Conflict if this release cannot read it."""
    try:
        document = RoutingDocument.read(stored.document)
    except ValidationError as error:
        problems = problems_of(error.errors(), stored.document)
        raise Conflict(
            message(
                "Version %(version)s of the rules is of another release; this one cannot read"
                " %(field)s. Put an earlier version in force again.",
                version=stored.version,
                field=problems[0].field,
            )
        ) from error
    return RoutingVersion(
        version=stored.version,
        created_at=stored.created_at,
        created_by=stored.created_by,
        comment=stored.comment,
        document=document,
    )
