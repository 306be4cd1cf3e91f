"""Shows the transaction log as people think of it: by association, and by who did what to whom."""

from collections.abc import Iterable
from typing import Final

from draw_api.models.paging import Page
from draw_api.models.transactions import (
    AUDIT_ACTIONS,
    AssociationCriteria,
    AssociationSummary,
    AuditCriteria,
    AuditLine,
    LoggedStudy,
    Transaction,
    TransactionCriteria,
)
from draw_api.ports.transactions import (
    AssociationRepository,
    LoggedStudyRepository,
    TransactionRepository,
)
from draw_api.services.transactions import require_span
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal
from draw_shared.contracts.transaction import TransactionKind

MAX_LOOKED_FOR: Final = 5
"""Studies of an association of which one is named."""
SHARED_FIELDS: Final = {name for name in AuditLine.model_fields if name != "study"}
"""What an audit line has in common with the line of the log."""


class LogViewService:
    """Puts lines of the log together, and names the studies that they are about."""

    def __init__(
        self,
        log: TransactionRepository,
        associations: AssociationRepository,
        studies: LoggedStudyRepository,
    ) -> None:
        self._log = log
        self._associations = associations
        self._studies = studies

    def associations(
        self, criteria: AssociationCriteria, cursor: str | None, limit: int
    ) -> Page[AssociationSummary]:
        """Return a page of associations, newest first, open ones before them.

        Raises:
            Invalid: the span of time is empty.
        """
        require_span(criteria.since, criteria.until)
        page, named = self._associations.page(criteria, cursor, limit)
        looked_for = {uid for uids in named.values() for uid in uids[:MAX_LOOKED_FOR]}
        present = self._studies.present(looked_for)
        items = [
            one.model_copy(
                update={
                    "study": next(
                        (present[u] for u in named.get(one.association_id, ()) if u in present),
                        None,
                    )
                }
            )
            for one in page.items
        ]
        return Page(items=items, next_cursor=page.next_cursor)

    def audit_lines(
        self, by: Principal, criteria: AuditCriteria, cursor: str | None, limit: int
    ) -> Page[AuditLine]:
        """Return a page of management actions, newest first, with the studies they are about.

        Whose study was deleted is for those with a permission of their own; others neither see nor
        find it.

        Raises:
            Invalid: the span of time is empty.
        """
        require_span(criteria.since, criteria.until)
        studies: set[str] = set()
        if criteria.patient_id:
            also_deleted = may(by, Permission.READ_DELETIONS)
            studies = self._studies.of_patient(criteria.patient_id, also_deleted=also_deleted)
            if not studies:
                return Page(items=[])
        page = self._log.page(self._lines_of(criteria, studies), cursor, limit)
        about = self._studies_of(by, page.items)
        items = [
            AuditLine(study=about.get(line.id), **line.model_dump(include=SHARED_FIELDS))
            for line in page.items
        ]
        return Page(items=items, next_cursor=page.next_cursor)

    def study_of(self, by: Principal, line: Transaction) -> LoggedStudy | None:
        """Return the study that a line is about, as far as the caller may see it."""
        return self._studies_of(by, [line]).get(line.id)

    def _lines_of(self, criteria: AuditCriteria, studies: set[str]) -> TransactionCriteria:
        actors: tuple[str, ...] = ()
        if criteria.user:
            tokens = self._studies.tokens_of(criteria.user)
            actors = (criteria.user, *(f"{criteria.user} (token {name})" for name in tokens))
        actions = AUDIT_ACTIONS[criteria.group] if criteria.group else ()
        return TransactionCriteria(
            # Only management lines have an actor.
            kinds=() if actors and not actions else (TransactionKind.MANAGEMENT,),
            actors=actors,
            actions=actions,
            studies=tuple(sorted(studies)),
            since=criteria.since,
            until=criteria.until,
        )

    def _studies_of(self, by: Principal, lines: Iterable[Transaction]) -> dict[int, LoggedStudy]:
        """Return the studies that these lines are about, by the identities of the lines."""
        asked = {line.id: line for line in lines if line.study_instance_uid}
        uids = {line.study_instance_uid or "" for line in asked.values()}
        present = self._studies.present(uids) if uids else {}
        may_know = uids and may(by, Permission.READ_DELETIONS)
        deleted = self._studies.deleted(uids) if may_know else ()
        found: dict[int, LoggedStudy] = {}
        for line in asked.values():
            uid = line.study_instance_uid or ""
            is_deletion = line.action == "study.delete"
            deletions = [one for one in deleted if one.study.study_instance_uid == uid]
            if deletions and (is_deletion or uid not in present):
                at = line.occurred_at
                nearest = min(deletions, key=lambda one: abs(one.deleted_at - at))
                found[line.id] = nearest.study
            elif uid in present and not is_deletion:
                found[line.id] = present[uid]
        return found
