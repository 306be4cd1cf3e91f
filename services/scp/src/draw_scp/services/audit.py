"""Writes the audit trail: every association, rejection and operation, without patient data.

A retrieve is recorded before the first object leaves (PS3.15 A.5.3.3, Begin Transferring DICOM
Instances), so that the record exists even if the receiver is killed while it sends.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from draw_scp.models import TransactionLine
from draw_scp.ports.audit import DurableRecorder, TransactionRecorder
from draw_shared.contracts.transaction import (
    RETRIEVE_BEGUN,
    TransactionKind,
    TransactionOutcome,
)
from draw_shared.dicom.network.service import AssociationInfo, AssociationOutcome, Peer, Reject
from draw_shared.dicom.network.statuses import DimseStatus, is_warning
from draw_shared.wording import message

_OUTCOMES: Final = {
    AssociationOutcome.RELEASED: TransactionOutcome.SUCCESS,
    AssociationOutcome.ABORTED_BY_PEER: TransactionOutcome.WARNING,
}


@dataclass(slots=True)
class AssociationTally:
    """What one association has transferred so far."""

    begun: float = field(default_factory=time.monotonic)
    operations: int = 0
    objects: int = 0
    size_bytes: int = 0


class AnsweredOperation(NamedTuple):
    """One answered DIMSE operation."""

    kind: TransactionKind
    status: int
    seconds: float
    size_bytes: int | None = None
    objects: int | None = None
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    detail: str | None = None


class AuditService:
    """Turns events into records, and keeps a tally of each open association."""

    def __init__(
        self,
        records: TransactionRecorder,
        ahead: DurableRecorder,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._ahead = ahead
        self._clock = clock
        self._open: dict[str, AssociationTally] = {}

    def opened(self, info: AssociationInfo) -> None:
        """Begin the tally of an association."""
        self._open[info.association_id] = AssociationTally()

    def begun(
        self,
        info: AssociationInfo,
        kind: TransactionKind,
        leaving: Mapping[str, int],
        destination: str,
    ) -> None:
        """Record which studies a retrieve is about to send objects of, and how many of each.

        `destination` is the AE title of a C-MOVE; empty means the peer that asks.

        Raises:
            NotOnRecord: nothing may be sent.
        """
        now = self._clock()
        to = destination or info.calling_ae
        self._ahead.keep(
            [
                TransactionLine(
                    occurred_at=now,
                    kind=kind,
                    outcome=TransactionOutcome.SUCCESS,
                    association_id=info.association_id,
                    calling_ae=info.calling_ae,
                    called_ae=info.called_ae,
                    peer_address=info.peer_address,
                    status=DimseStatus.PENDING,
                    study_instance_uid=study or None,
                    detail=message("begun: %(objects)s objects to %(to)s", objects=objects, to=to),
                    action=RETRIEVE_BEGUN,
                )
                for study, objects in leaving.items()
            ]
        )

    def operation(self, info: AssociationInfo, done: AnsweredOperation) -> None:
        """Record one operation."""
        tally = self._open.get(info.association_id)
        if tally is not None:
            tally.operations += 1
            if done.kind is TransactionKind.C_STORE and done.status == DimseStatus.SUCCESS:
                tally.objects += 1
                tally.size_bytes += done.size_bytes or 0
        self._records.record(
            TransactionLine(
                occurred_at=self._clock(),
                kind=done.kind,
                outcome=outcome_of(done.status),
                association_id=info.association_id,
                calling_ae=info.calling_ae,
                called_ae=info.called_ae,
                peer_address=info.peer_address,
                status=done.status,
                duration_seconds=round(done.seconds, 6),
                size_bytes=done.size_bytes,
                objects=done.objects,
                sop_class_uid=done.sop_class_uid,
                sop_instance_uid=done.sop_instance_uid,
                study_instance_uid=done.study_instance_uid,
                detail=done.detail,
            )
        )

    def closed(
        self, info: AssociationInfo, outcome: AssociationOutcome, reason: str
    ) -> AssociationTally:
        """Record the end of an association, and return its tally."""
        tally = self._open.pop(info.association_id, None) or AssociationTally()
        self._records.record(
            TransactionLine(
                occurred_at=self._clock(),
                kind=TransactionKind.ASSOCIATION,
                outcome=_OUTCOMES.get(outcome, TransactionOutcome.FAILURE),
                association_id=info.association_id,
                calling_ae=info.calling_ae,
                called_ae=info.called_ae,
                peer_address=info.peer_address,
                duration_seconds=round(time.monotonic() - tally.begun, 6),
                size_bytes=tally.size_bytes,
                objects=tally.objects,
                detail=_how_it_ended(info, outcome, reason),
            )
        )
        return tally

    def denied(self, peer: Peer, titles: tuple[str, str], status: int, words: str) -> None:
        """Record that a peer asked for something it has no right to.

        `titles` are the calling and the called AE title; `status` is the result of the presentation
        context or the DIMSE status of the operation.
        """
        self._records.record(
            TransactionLine(
                occurred_at=self._clock(),
                kind=TransactionKind.REJECTION,
                outcome=TransactionOutcome.REJECTED,
                association_id=peer.association_id,
                calling_ae=titles[0],
                called_ae=titles[1],
                peer_address=peer.address,
                status=status,
                detail=words,
            )
        )

    def rejected(self, peer: Peer, titles: tuple[str, str] | None, reject: Reject) -> None:
        """Record a rejection; `titles` are the calling and called AE titles, if known."""
        calling, called = titles or (None, None)
        self._records.record(
            TransactionLine(
                occurred_at=self._clock(),
                kind=TransactionKind.REJECTION,
                outcome=TransactionOutcome.REJECTED,
                association_id=peer.association_id,
                calling_ae=calling,
                called_ae=called,
                peer_address=peer.address,
                status=reject.reason,
                detail=f"{reject.words} ({reject.result}/{reject.source}/{reject.reason})",
            )
        )


def _how_it_ended(info: AssociationInfo, outcome: AssociationOutcome, reason: str) -> str:
    ended = f"{outcome}: {reason}" if reason else str(outcome)
    shown = info.certificate
    return f"{ended}; certificate {shown.words}" if shown is not None else ended


def outcome_of(status: int) -> TransactionOutcome:
    """Return how an operation with this final status ended."""
    if status == DimseStatus.SUCCESS:
        return TransactionOutcome.SUCCESS
    if status == DimseStatus.CANCELLED:
        return TransactionOutcome.CANCELLED
    return TransactionOutcome.WARNING if is_warning(status) else TransactionOutcome.FAILURE
