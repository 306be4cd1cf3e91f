"""Port of the audit trail: who changed, read or was refused what."""

from typing import Protocol

from draw_api.models.access import Principal
from draw_shared.contracts.transaction import TransactionOutcome


class AuditTrail(Protocol):
    """Takes lines in the transaction of the action itself: both are kept or neither."""

    def record(
        self,
        by: Principal,
        action: str,
        detail: str = "",
        *,
        study_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> None:
        """Keep that `by` did `action`; `detail` names identifiers and settings, never patients."""

    def record_failure(self, by: Principal, action: str, detail: str) -> None:
        """Keep that `by` tried `action` and may not; raise nothing after it, or it is not kept."""

    def record_anonymous(
        self, name: str, address: str, action: str, outcome: TransactionOutcome, detail: str = ""
    ) -> None:
        """Keep that somebody who called himself `name` tried `action`."""
