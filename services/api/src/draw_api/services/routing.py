"""Reads, changes and rolls back the rules of routing."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from pydantic import ValidationError
from typing_extensions import override

from draw_api.models.config import StoredVersion
from draw_api.models.routing import (
    RoutingHistoryEntry,
    RoutingQuestion,
    RoutingReasons,
    RoutingVersion,
    reasons,
    rule_changes,
)
from draw_api.ports.documents import DocumentRepository
from draw_api.ports.routing import RoutingFactsSource
from draw_api.services.destination_rules import DestinationRules
from draw_api.services.documents import DocumentService, DocumentWords
from draw_api.services.routing_edits import DocumentChange
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import (
    Conflict,
    FieldProblem,
    Invalid,
    NotFound,
)
from draw_shared.contracts.validation_words import problems_of
from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.evaluation import Evaluator
from draw_shared.wording import message

NOT_FOUND: Final[Mapping[Trigger, str]] = {
    Trigger.SERIES_COMPLETE: message("The index has no such series."),
    Trigger.STUDY_COMPLETE: message("The index has no such study."),
    Trigger.INSTANCE: message("The index has no such instance."),
}


class RoutingService(DocumentService[RoutingVersion, RoutingHistoryEntry]):
    """The rules of routing."""

    nothing: ClassVar[Mapping[str, Any]] = {"destinations": [], "rules": []}
    words: ClassVar = DocumentWords(
        action="routing.update",
        unknown=message("There is no such version of the rules."),
        unmatched=message(
            "Send If-Match with the ETag of the version that you read (GET /api/v1/routing)."
        ),
        outdated=message(
            "The rules have changed since you read them; version %(version)s is in force."
        ),
        overtaken=message("Somebody else has changed the rules at the same moment."),
    )

    def __init__(
        self,
        versions: DocumentRepository,
        archive: RoutingFactsSource,
        destinations: DestinationRules,
        audit: AuditTrail,
    ) -> None:
        super().__init__(versions, audit)
        self._archive = archive
        self._destinations = destinations

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
        check_document(document)
        self._destinations.check(document)
        return self._put(by, newest, document.stored(), comment)

    def edit(
        self, by: Principal, change: DocumentChange, if_match: str | None, comment: str = ""
    ) -> RoutingVersion:
        """Put the document in force with a change as a new version; no change makes none.

        Raises:
            PreconditionRequired: the client does not say which version it read.
            PreconditionFailed: another version is in force.
            NotFound: what is to be changed is not there.
            Invalid: what comes of it is no document; the fields say why.
        """
        newest = self._require_match(if_match)
        before = self.current().document
        document = document_of(change(before.stored()))
        if document.destinations != before.destinations:
            self._destinations.check(document)
        return self._put(by, newest, document.stored(), comment)

    def explain(self, by: Principal, question: RoutingQuestion) -> RoutingReasons:
        """Return what rules say and why, and record who looked at the values.

        Raises:
            NotFound: the index has nothing with this UID.
            Invalid: the given document is none; the fields say why.
        """
        current, document = None, question.document
        if document is None:
            current = self.current()
            document = current.document
        else:
            check_document(document, "document")
        evaluator = Evaluator(document)
        trigger, uid = question.about
        found = self._archive.facts(trigger, uid, evaluator.subjects)
        if found is None:
            raise NotFound(NOT_FOUND[trigger])
        self._audit.record(by, "routing.explain", uid, study_instance_uid=found.study_instance_uid)
        version = None if current is None else current.version
        explained = evaluator.explain(found.facts)
        return reasons(version, found.facts, explained, document.destinations)

    @override
    def _before_all(self) -> RoutingVersion:
        return RoutingVersion(
            version=0, created_at=None, created_by="", comment="", document=RoutingDocument()
        )

    @override
    def _read(self, stored: StoredVersion) -> RoutingVersion:
        return RoutingVersion(
            version=stored.version,
            created_at=stored.created_at,
            created_by=stored.created_by,
            comment=stored.comment,
            document=_read(stored),
        )

    @override
    def _entry(
        self, stored: StoredVersion, before: Mapping[str, Any] | None
    ) -> RoutingHistoryEntry:
        changes = rule_changes(self.nothing if before is None else before, stored.document)
        return RoutingHistoryEntry(
            version=stored.version,
            created_at=stored.created_at,
            created_by=stored.created_by,
            comment=stored.comment,
            added=changes.added,
            removed=changes.removed,
            changed=changes.changed,
            reordered=changes.reordered,
            destinations=changes.destinations,
        )

    @override
    def _document_again(self, version: RoutingVersion) -> dict[str, Any]:
        self._destinations.check(version.document)
        return version.document.stored()

    @override
    def _compare(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
        return rule_changes(before, after).words


def check_document(document: RoutingDocument, place: str = "") -> None:
    """Raise Invalid when rules do not go together; `place` is where the document was sent."""
    try:
        document.check()
    except ValidationError as error:
        found = problems_of(error.errors())
        raise Invalid(
            [FieldProblem(f"{place}.{p.field}".lstrip("."), p.message) for p in found]
        ) from error


def document_of(given: Mapping[str, Any]) -> RoutingDocument:
    """Return the document of what was typed or changed.

    Raises:
        Invalid: it is none; the fields say why.
    """
    try:
        document = RoutingDocument.model_validate(given)
    except ValidationError as error:
        raise Invalid(problems_of(error.errors(), given)) from error
    check_document(document)
    return document


def _read(stored: StoredVersion) -> RoutingDocument:
    """Return the rules in a version; Conflict if this release cannot read them."""
    try:
        return RoutingDocument.model_validate(stored.document)
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
