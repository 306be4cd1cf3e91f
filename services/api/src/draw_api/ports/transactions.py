"""Ports of the transaction log: its lines, their pages, and their verification."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from draw_api.models.paging import Page
from draw_api.models.transactions import (
    AssociationCriteria,
    AssociationSummary,
    ChainReport,
    KnownHead,
    LoggedStudy,
    Transaction,
    TransactionCriteria,
)


class TransactionRepository(Protocol):
    """The recorded lines."""

    def page(
        self, criteria: TransactionCriteria, cursor: str | None, limit: int
    ) -> Page[Transaction]:
        """Return a page of lines, newest first."""

    def one(self, transaction_id: int) -> Transaction | None:
        """Return one line."""

    def verify(self, known: KnownHead | None) -> ChainReport:
        """Compute the hash chain again and compare."""


class AssociationRepository(Protocol):
    """The recorded lines, by their associations."""

    def page(
        self, criteria: AssociationCriteria, cursor: str | None, limit: int
    ) -> tuple[Page[AssociationSummary], Mapping[str, Sequence[str]]]:
        """Return a page, newest first, and the Study Instance UIDs that each association names.

        The first page begins with associations that are still open.
        """


@dataclass(frozen=True, slots=True)
class StudyDeletion:
    """Whose study was deleted, and when."""

    study: LoggedStudy
    deleted_at: datetime


class LoggedStudyRepository(Protocol):
    """The studies that lines are about."""

    def present(self, uids: Collection[str]) -> dict[str, LoggedStudy]:
        """Return those of these studies that the archive has."""

    def deleted(self, uids: Collection[str]) -> Sequence[StudyDeletion]:
        """Return every deletion of these studies, newest first."""

    def of_patient(self, patient_id: str, *, also_deleted: bool) -> set[str]:
        """Return the UIDs of a patient's studies, of all issuers."""

    def tokens_of(self, user: str) -> Sequence[str]:
        """Return the names of a user's tokens."""
