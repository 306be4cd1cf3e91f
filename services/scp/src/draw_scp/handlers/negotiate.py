"""Who may associate and for what, from the configuration in force; what came of it is recorded."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from draw_scp.metrics import ScpMetrics
from draw_scp.models import Later
from draw_scp.services.audit import Audit
from draw_shared.dicom.admission import AccessRules, access_rules, refuse
from draw_shared.dicom.associate import AssociateRequest
from draw_shared.dicom.negotiation import Capabilities, capabilities, negotiate
from draw_shared.dicom.service import Accept, AssociationInfo, Outcome, Peer, Reject
from draw_shared.runtime.config_watch import LiveConfig

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Offer:
    """What one version of the configuration means for associations."""

    config: LiveConfig
    rules: AccessRules
    capabilities: Capabilities


class Associations:
    """Admits associations, and records how they begin and end."""

    def __init__(
        self,
        config: Callable[[], LiveConfig],
        audit: Audit,
        metrics: ScpMetrics,
        afterwards: Later,
    ) -> None:
        self._config = config
        self._audit = audit
        self._metrics = metrics
        self._afterwards = afterwards
        self._offer = _offer(config())

    def admit(self, peer: Peer, request: AssociateRequest) -> Accept | Reject:
        """Decide whether this peer may associate, and for what."""
        offer = self._offer
        config = self._config()
        if config is not offer.config:
            offer = self._offer = _offer(config)
        return refuse(peer, request, offer.rules) or negotiate(request, offer.capabilities)

    def opened(self, info: AssociationInfo) -> None:
        """Take note of an accepted association."""
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
            )

    def closed(self, info: AssociationInfo, outcome: Outcome, reason: str) -> None:
        """Take note of its end, once its objects are accounted for."""
        self._afterwards(self._account, info, outcome, reason)

    def _account(self, info: AssociationInfo, outcome: Outcome, reason: str) -> None:
        tally = self._audit.closed(info, outcome, reason)
        self._metrics.associations.labels(str(outcome)).inc()
        if self._logged:
            log.info(
                "association.closed",
                association_id=info.association_id,
                calling_ae=info.calling_ae,
                called_ae=info.called_ae,
                address=info.peer_address,
                outcome=str(outcome),
                reason=reason,
                operations=tally.operations,
                objects=tally.objects,
                size_bytes=tally.size_bytes,
            )

    def rejected(self, peer: Peer, request: AssociateRequest | None, reject: Reject) -> None:
        """Take note of a connection that was turned away; the accepting thread does not wait."""
        self._afterwards(self._account_rejection, peer, request, reject)

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
                reason=reject.words,
            )

    @property
    def _logged(self) -> bool:
        return self._config().server.logging.connection_attempts


def _offer(config: LiveConfig) -> _Offer:
    allowed = {peer.ae_title: peer.expected_ip for peer in config.allowed_peers}
    return _Offer(config, access_rules(config.server, allowed), capabilities(config.server))
