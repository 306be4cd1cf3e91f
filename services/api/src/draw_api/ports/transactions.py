"""Ports of the transaction log: its lines, their pages, and their verification."""

from typing import Protocol

from draw_api.models.paging import Page
from draw_api.models.transactions import ChainReport, KnownHead, Transaction, TransactionCriteria


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


class PageReader(Protocol):
    """Reads one page."""

    def __call__(self, cursor: str | None, limit: int) -> Page[Transaction]:
        """Return the page at the cursor."""
