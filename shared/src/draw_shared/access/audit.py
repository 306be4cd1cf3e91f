"""Port of the audit trail: who changed or read something, or was refused it."""

from typing import Protocol

from draw_shared.access.principals import Principal
from draw_shared.contracts.transaction import TransactionOutcome


class AuditTrail(Protocol):
    """Writes lines in the transaction of the action itself: both are kept or neither."""

    def record(
        self,
        by: Principal,
        action: str,
        detail: str = "",
        *,
        study_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> None:
        """Record that `by` did `action`; `detail` has identifiers and settings, never patients."""

    def record_failure(self, by: Principal, action: str, detail: str) -> None:
        """Record that `by` tried `action` without permission; an exception would undo it."""

    def record_anonymous(
        self, name: str, address: str, action: str, outcome: TransactionOutcome, detail: str = ""
    ) -> None:
        """Record that an unauthenticated client named `name` tried `action`."""
