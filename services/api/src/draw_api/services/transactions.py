"""Reads and verifies the transaction log."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

from draw_api.models.paging import Page
from draw_api.models.transactions import ChainReport, KnownHead, Transaction, TransactionCriteria
from draw_api.ports.transactions import TransactionRepository
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.contracts.transaction import ACCEPTED
from draw_shared.wording import message

Item = TypeVar("Item")


class TransactionService:
    """Shows the transaction log to operators."""

    def __init__(self, log: TransactionRepository, audit: AuditTrail) -> None:
        self._log = log
        self._audit = audit

    def transactions(
        self, criteria: TransactionCriteria, cursor: str | None, limit: int
    ) -> Page[Transaction]:
        """Return a page of the lines that match, newest first.

        Raises:
            Invalid: the span of time is empty.
        """
        require_span(criteria.since, criteria.until)
        return self._log.page(criteria, cursor, limit)

    def one(self, transaction_id: int) -> Transaction:
        """Return one line; NotFound when it does not exist, or no longer exists."""
        found = self._log.one(transaction_id)
        if found is None:
            raise NotFound(message("There is no such line in the transaction log."))
        return found

    def begin_export(self, by: Principal, action: str = "transactions.export") -> None:
        """Record that a user exports the log."""
        self._audit.record(by, action)

    def verify(self, by: Principal, known: KnownHead | None) -> ChainReport:
        """Compute the hash chain again; record that it was done, and the result."""
        report = self._log.verify(known)
        found = message(
            "%(breaks)s breaks, %(findings)s findings",
            breaks=len(report.breaks),
            findings=len(report.findings),
        )
        words = "intact" if report.intact else found
        lost = f", {report.lines_lost} lost" if report.lines_lost else ""
        self._audit.record(by, "transactions.verify", f"{report.lines} lines, {words}{lost}")
        return report

    def accept(self, by: Principal, report: ChainReport, reason: str) -> None:
        """Record that a user has examined a report's findings, and why they occurred.

        Raises:
            NotFound: there is nothing to accept.
            Conflict: no reason is given.
        """
        if not reason.strip():
            raise Conflict(message("Say why what was found is accepted."))
        if report.head is None or report.intact:
            raise NotFound(message("There is nothing to accept: the log is intact."))
        words = message(
            "up to line %(line)s: %(reason)s", line=report.head.position, reason=reason.strip()
        )
        self._audit.record(by, ACCEPTED, words)


def require_span(begin: datetime | None, end: datetime | None) -> None:
    """Return if a span of time does not end before it begins.

    Raises:
        Invalid: it does.
    """
    if begin is not None and end is not None and end < begin:
        raise Invalid([FieldProblem("until", message("must not be before since"))])


def pages(read: Callable[[str | None, int], Page[Item]], limit: int) -> Iterator[Page[Item]]:
    """Yield every page, each read when it is needed."""
    cursor: str | None = None
    while True:
        page = read(cursor, limit)
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return
