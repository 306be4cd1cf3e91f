"""Writes store requests down in PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import insert, text
from sqlmodel import Session
from typing_extensions import override

from draw_dicomweb.models import StoreOutcome
from draw_dicomweb.ports.store import StoreLog, Submission, SubmissionEnd
from draw_shared.access.audit import AuditTrail
from draw_shared.access.permissions import Permission
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.db.seals import Keyring, attested
from draw_shared.db.tables import TransactionRow

# What a request brought is complete once as much is indexed, as with an association.
NOTE_END: Final = text(
    """
    INSERT INTO association_ends (association_id, released, objects, ended_at)
    VALUES (:id, :released, :objects, now()) ON CONFLICT DO NOTHING
    """
)
MAX_UID_CHARACTERS: Final = 64
"""Of a UID that was refused because it is none."""
NUL: Final = "\0"


class PostgresStoreLog(StoreLog):
    """Writes lines within one transaction.

    Args:
        session: the session of that transaction.
        audit: writes the line of the request.
        replica: this process.
        keyring: attests lines until they are chained and sealed; None leaves them unattested.
    """

    def __init__(
        self, session: Session, audit: AuditTrail, *, replica: str, keyring: Keyring | None
    ) -> None:
        self._connection = session.connection()
        self._audit = audit
        self._replica = replica
        self._keyring = keyring

    @override
    def objects(self, submission: Submission, outcomes: Sequence[StoreOutcome]) -> None:
        if outcomes:
            lines = [attested(self._line(submission, one), self._keyring) for one in outcomes]
            # One statement: its trigger counts in a fixed order, so that requests cannot deadlock.
            self._connection.execute(insert(TransactionRow).values(lines))

    @override
    def ended(self, submission: Submission, end: SubmissionEnd) -> None:
        counts = f"{end.stored} stored, {end.refused} refused"
        detail = f"{counts}: {end.why}" if end.why else counts
        if end.why or not end.stored:
            self._audit.record_failure(submission.by, Permission.STORE_OBJECTS, detail)
        else:
            self._audit.record(
                submission.by,
                Permission.STORE_OBJECTS,
                detail,
                study_instance_uid=end.study or None,
            )
        if end.stored:
            values = {
                "id": submission.info.association_id,
                "released": not end.why,
                "objects": end.stored,
            }
            self._connection.execute(NOTE_END, values)

    def _line(self, submission: Submission, one: StoreOutcome) -> dict[str, Any]:
        info = submission.info
        outcome = TransactionOutcome.SUCCESS if one.stored else TransactionOutcome.FAILURE
        return {
            "record_id": uuid4(),
            "occurred_at": datetime.now(UTC),
            "kind": str(TransactionKind.C_STORE),
            "outcome": str(outcome),
            "replica": self._replica,
            "association_id": info.association_id,
            "calling_ae": info.calling_ae,
            "called_ae": info.called_ae,
            "peer_address": info.peer_address,
            "status": int(one.status),
            "duration_seconds": round(one.seconds, 6),
            "size_bytes": one.size_bytes or None,
            "sop_class_uid": _uid(one.sop_class_uid),
            "sop_instance_uid": _uid(one.sop_instance_uid),
            "study_instance_uid": _uid(one.study_instance_uid),
            "actor": submission.by.actor,
            "detail": "duplicate" if one.duplicate else one.reason or None,
        }


def _uid(said: str) -> str | None:
    # PostgreSQL's text type cannot hold NUL.
    return said.replace(NUL, "")[:MAX_UID_CHARACTERS] or None
