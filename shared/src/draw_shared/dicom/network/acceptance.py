"""An accepted association: A-ASSOCIATE-AC, and what the service knows of it (PS3.8 9.3.3)."""

from datetime import UTC, datetime
from typing import Final

from draw_shared.dicom.encoding.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from draw_shared.dicom.network.associate import AssociateAccept, AssociateRequest, UserInformation
from draw_shared.dicom.network.service import Accept, AssociationInfo, Peer, PresentationContext

MAX_OPERATIONS: Final = 32
"""Most outstanding operations that a peer is granted (PS3.7 D.3.3.3)."""


def accepted(
    peer: Peer, request: AssociateRequest, decision: Accept, max_pdu: int
) -> tuple[AssociateAccept, AssociationInfo]:
    """Return the answer to a request that is accepted, and the association; it begins now."""
    user = UserInformation(
        max_pdu=max_pdu,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION,
        asynchronous=_granted(request.user.asynchronous),
        roles=dict(decision.roles),
        extended=dict(decision.extended),
        identity_response=(
            b""
            if request.user.identity is not None and request.user.identity.positive_response
            else None
        ),
    )
    answer = AssociateAccept(request.calling_ae, request.called_ae, decision.results, user)
    proposed = {c.context_id: c.abstract_syntax for c in request.contexts}
    contexts = {
        r.context_id: PresentationContext(r.context_id, proposed[r.context_id], r.transfer_syntax)
        for r in decision.results
        if r.result == 0
    }
    return answer, AssociationInfo(
        association_id=peer.association_id,
        calling_ae=request.calling_ae,
        called_ae=request.called_ae,
        peer_address=peer.address,
        local_address=peer.local_address,
        opened_at=datetime.now(UTC),
        contexts=contexts,
        peer_max_pdu=request.user.max_pdu,
        peer_implementation=request.user.implementation_version,
        roles=decision.roles,
        extended=decision.extended,
        tls=peer.tls,
        certificate=peer.certificate,
        rights=decision.rights,
        listed=decision.listed,
    )


def _granted(proposed: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the window we grant: what is asked up to a bound; we perform one at a time."""
    if proposed is None:
        return None
    invoked = proposed[0] or MAX_OPERATIONS
    return min(invoked, MAX_OPERATIONS), 1
