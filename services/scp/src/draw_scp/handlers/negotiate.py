"""Decides from the configuration in force who may associate and for what; records the outcome."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from draw_scp.metrics import ScpMetrics
from draw_scp.ports.operations import Deferral
from draw_scp.services.audit import AuditService
from draw_shared.contracts.association_rules import access_rules, capabilities
from draw_shared.dicom.network.admission import AccessRules, refuse_calling
from draw_shared.dicom.network.associate import AssociateRequest
from draw_shared.dicom.network.authorization import (
    Standing,
    authorize,
    denial,
    denial_of_destination,
    determine_standing,
)
from draw_shared.dicom.network.negotiation import USER_REJECTION, Capabilities
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import (
    Accept,
    AssociationInfo,
    AssociationOutcome,
    OperationRefused,
    Peer,
    PeerCertificate,
    Reject,
)
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.runtime.config_watch import LiveConfig

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Offer:
    """What one version of the configuration offers to associations."""

    config: LiveConfig
    rules: AccessRules
    capabilities: Capabilities


class Associations:
    """Admits associations, and records how they begin and end.

    Args:
        loopback_reads: whether peers on this machine may read without being listed.
    """

    def __init__(
        self,
        config: Callable[[], LiveConfig],
        audit: AuditService,
        metrics: ScpMetrics,
        deferred_tasks: Deferral,
        *,
        loopback_reads: bool = False,
    ) -> None:
        self._config = config
        self._audit = audit
        self._metrics = metrics
        self._deferred = deferred_tasks
        self._loopback_reads = loopback_reads
        self._last_offer = self._offer_of(config())

    def admit(self, peer: Peer, request: AssociateRequest) -> Accept | Reject:
        """Decide whether this peer may associate, and for what."""
        offer = self._offer()
        decision = authorize(peer, request, offer.rules, offer.capabilities)
        if isinstance(decision, Accept) and decision.denied:
            words = denial(
                decision.denied, determine_standing(peer, request.calling_ae, offer.rules)
            )
            titles = request.calling_ae, request.called_ae
            self._deferred(self._account_denial, peer, titles, USER_REJECTION, words)
        return decision

    def demand(self, info: AssociationInfo, right: Right, destination: str = "") -> None:
        """Return if the peer of an association still has a right.

        Raises:
            OperationRefused: it has not, or may not have objects sent to this move destination.
        """
        peer = Peer(
            info.association_id,
            info.peer_address,
            info.local_address,
            info.tls,
            info.certificate,
        )
        words = self._reason_to_deny(peer, info.calling_ae, right, destination)
        if words:
            titles = info.calling_ae, info.called_ae
            status = DimseStatus.NOT_AUTHORIZED
            self._deferred(self._account_denial, peer, titles, status, words)
            raise OperationRefused(status, words)

    def _reason_to_deny(self, peer: Peer, calling_ae: str, right: Right, destination: str) -> str:
        """Return the reason for a denial in words, or nothing when there is none."""
        rules = self._offer().rules
        # Since it associated, the title may have been bound to a certificate or unlisted.
        refused = refuse_calling(peer, calling_ae, rules)
        found = determine_standing(peer, calling_ae, rules)
        if refused is not None:
            return denial((right,), Standing(frozenset(), listed=False, words=refused.words))
        if right not in found.rights:
            return denial((right,), found)
        if destination and not found.may_move_to(destination):
            return denial_of_destination(destination)
        return ""

    def opened(self, info: AssociationInfo) -> None:
        """Record an accepted association."""
        self._audit.opened(info)
        if self._logged:
            log.debug(
                "association.opened",
                association_id=info.association_id,
                calling_ae=info.calling_ae,
                called_ae=info.called_ae,
                address=info.peer_address,
                contexts=len(info.contexts),
                implementation=info.peer_implementation,
                certificate=_words(info.certificate),
            )

    def closed(self, info: AssociationInfo, outcome: AssociationOutcome, reason: str) -> None:
        """Record the end of an association, after its objects were accounted for."""
        self._deferred(self._account, info, outcome, reason)

    def _account(self, info: AssociationInfo, outcome: AssociationOutcome, reason: str) -> None:
        tally = self._audit.closed(info, outcome, reason)
        self._metrics.associations.labels(str(outcome)).inc()
        if self._logged:
            log.info(
                "association.closed",
                association_id=info.association_id,
                calling_ae=info.calling_ae,
                called_ae=info.called_ae,
                address=info.peer_address,
                certificate=_words(info.certificate),
                outcome=str(outcome),
                reason=reason,
                operations=tally.operations,
                objects=tally.objects,
                size_bytes=tally.size_bytes,
            )

    def rejected(self, peer: Peer, request: AssociateRequest | None, reject: Reject) -> None:
        """Record a rejected connection; the accepting thread does not wait for it."""
        self._deferred(self._account_rejection, peer, request, reject)

    def _account_rejection(
        self, peer: Peer, request: AssociateRequest | None, reject: Reject
    ) -> None:
        titles = (request.calling_ae, request.called_ae) if request is not None else None
        self._audit.rejected(peer, titles, reject)
        self._metrics.rejections.labels(reject.source, reject.reason).inc()
        if self._logged:
            log.warning(
                "association.rejected",
                association_id=peer.association_id,
                calling_ae=titles and titles[0],
                called_ae=titles and titles[1],
                address=peer.address,
                certificate=_words(peer.certificate),
                reason=reject.words,
            )

    def _account_denial(self, peer: Peer, titles: tuple[str, str], status: int, words: str) -> None:
        self._audit.denied(peer, titles, status, words)
        self._metrics.denials.inc()
        if self._logged:
            log.warning(
                "association.denied",
                association_id=peer.association_id,
                calling_ae=titles[0],
                called_ae=titles[1],
                address=peer.address,
                certificate=_words(peer.certificate),
                reason=words,
            )

    @property
    def _logged(self) -> bool:
        return self._config().server.logging.connection_attempts

    def _offer(self) -> _Offer:
        """Return the offer of the configuration in force."""
        offer, config = self._last_offer, self._config()
        if config is not offer.config:
            offer = self._last_offer = self._offer_of(config)
        return offer

    def _offer_of(self, config: LiveConfig) -> _Offer:
        rules = access_rules(
            config.server, config.allowed_peers, loopback_reads=self._loopback_reads
        )
        return _Offer(config, rules, capabilities(config.server))


def _words(certificate: PeerCertificate | None) -> str | None:
    return certificate.words if certificate is not None else None
