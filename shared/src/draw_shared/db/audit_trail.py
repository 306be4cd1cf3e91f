"""Writes the API's own lines of the transaction log."""

from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.db.seals import Keyring, attested

MAX_DETAIL_LENGTH: Final = 2000

INSERT: Final = text(
    """
    INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, peer_address,
        actor, action, detail, study_instance_uid, sop_instance_uid, attestation)
    VALUES (:record_id, :occurred_at, :kind, :outcome, :replica, :peer_address,
        :actor, :action, :detail, :study_instance_uid, :sop_instance_uid, :attestation)
    """
)


class PostgresAuditTrail(AuditTrail):
    """Writes management actions within the transaction that performs them.

    Args:
        session: the session of that transaction.
        replica: this process.
        keyring: attests lines until they are chained and sealed; None leaves them unattested.
    """

    def __init__(self, session: Session, *, replica: str, keyring: Keyring | None = None) -> None:
        self._connection = session.connection()
        self._replica = replica
        self._keyring = keyring

    @override
    def record(
        self,
        by: Principal,
        action: str,
        detail: str = "",
        *,
        study_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> None:
        self._insert(
            by.actor,
            by.address,
            action,
            TransactionOutcome.SUCCESS,
            detail=detail[:MAX_DETAIL_LENGTH],
            study_instance_uid=study_instance_uid,
            sop_instance_uid=sop_instance_uid,
        )

    @override
    def record_failure(self, by: Principal, action: str, detail: str) -> None:
        self._insert(by.actor, by.address, action, TransactionOutcome.FAILURE, detail=detail)

    @override
    def record_anonymous(
        self, name: str, address: str, action: str, outcome: TransactionOutcome, detail: str = ""
    ) -> None:
        self._insert(name, address, action, outcome, detail=detail)

    def _insert(
        self,
        actor: str,
        address: str,
        action: str,
        outcome: TransactionOutcome,
        *,
        detail: str = "",
        study_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> None:
        line = {
            "record_id": uuid4(),
            "occurred_at": datetime.now(UTC),
            "kind": str(TransactionKind.MANAGEMENT),
            "outcome": str(outcome),
            "replica": self._replica,
            "peer_address": address,
            "actor": actor,
            "action": action,
            "detail": detail or None,
            "study_instance_uid": study_instance_uid,
            "sop_instance_uid": sop_instance_uid,
        }
        self._connection.execute(INSERT, attested(line, self._keyring))
