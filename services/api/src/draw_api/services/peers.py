"""Who may associate: allowed AE titles, what would happen to a proposal, who was rejected.

What is explained is decided by the very rules the receiver decides by.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from draw_api.models.access import Principal
from draw_api.models.config import ConfigVersion
from draw_api.models.failures import Conflict, NotFound
from draw_api.models.paging import Page
from draw_api.models.peers import (
    AllowedAeTitle,
    AllowedAeTitleSettings,
    Check,
    Explanation,
    PeerToAllow,
    Proposal,
    RejectedPeer,
)
from draw_api.services.audit import AuditTrail
from draw_api.services.wakeups import WakeUps
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.dicom import admission, negotiation, uids
from draw_shared.dicom.associate import AssociateRequest, ProposedContext, UserInformation
from draw_shared.dicom.service import Peer, Reject

ALLOWED_FROM_REJECTION: Final = "allowed after a rejection"
CONTEXT_ID: Final = 1
CONTEXT_WORDS: Final = {
    negotiation.ACCEPTED: "the SOP class is accepted in this transfer syntax",
    negotiation.ABSTRACT_SYNTAX_NOT_SUPPORTED: "the SOP class is not switched on",
    negotiation.TRANSFER_SYNTAXES_NOT_SUPPORTED: "none of the transfer syntaxes is switched on",
}


class AeTitleTable(Protocol):
    """The rows that are the allowed AE titles."""

    def page(self, cursor: str | None, limit: int) -> Page[AllowedAeTitle]:
        """Return a page of AE titles, in the order in which they were added."""

    def one(self, row_id: int) -> AllowedAeTitle | None:
        """Return one by its id."""

    def by_title(self, ae_title: str) -> AllowedAeTitle | None:
        """Return one by its AE title."""

    def add(self, settings: AllowedAeTitleSettings) -> int | None:
        """Add an AE title and return its id, or None when it is there already."""

    def replace(self, row_id: int, settings: AllowedAeTitleSettings) -> bool | None:
        """Set everything; False when another row has the AE title, None when there is no row."""

    def remove(self, row_id: int) -> str | None:
        """Forget an AE title and return it, or None when there is no such row."""

    def active(self) -> Mapping[str, str]:
        """Return the expected address of each active AE title."""


class Rejections(Protocol):
    """Rejections on record."""

    def rejected(self, days: int, cursor: str | None, limit: int) -> Page[RejectedPeer]:
        """Return a page of peers by AE title, address and reason, last seen first."""


class Settings(Protocol):
    """The configuration in force."""

    def current(self) -> ConfigVersion:
        """Return the version in force."""

    def allow_address(self, by: Principal, network: str) -> bool:
        """Add a network to the allowed ones; False when addresses are not restricted."""


class Peers:
    """What administrators do about those who associate."""

    def __init__(
        self,
        table: AeTitleTable,
        rejections: Rejections,
        settings: Settings,
        wakeups: WakeUps,
        audit: AuditTrail,
    ) -> None:
        self._table = table
        self._rejections = rejections
        self._settings = settings
        self._wakeups = wakeups
        self._audit = audit

    def allowed(self, cursor: str | None, limit: int) -> Page[AllowedAeTitle]:
        """Return a page of the allowed AE titles."""
        return self._table.page(cursor, limit)

    def one(self, row_id: int) -> AllowedAeTitle:
        """Return one allowed AE title; NotFound when there is none."""
        found = self._table.one(row_id)
        if found is None:
            raise NotFound("There is no such allowed AE title.")
        return found

    def add(self, by: Principal, settings: AllowedAeTitleSettings) -> AllowedAeTitle:
        """Allow an AE title.

        Raises:
            Conflict: it is in the list already.
        """
        row_id = self._table.add(settings)
        if row_id is None:
            raise Conflict(f"{settings.ae_title} is in the list already.")
        self._changed(by, "ae_title.create", settings.ae_title)
        return self.one(row_id)

    def replace(
        self, by: Principal, row_id: int, settings: AllowedAeTitleSettings
    ) -> AllowedAeTitle:
        """Set everything about an allowed AE title; open associations go on.

        Raises:
            NotFound: there is no such row.
            Conflict: another row has the AE title.
        """
        done = self._table.replace(row_id, settings)
        if done is None:
            raise NotFound("There is no such allowed AE title.")
        if not done:
            raise Conflict(f"{settings.ae_title} is in the list already.")
        self._changed(by, "ae_title.update", settings.ae_title)
        return self.one(row_id)

    def remove(self, by: Principal, row_id: int) -> None:
        """Take an AE title off the list.

        Raises:
            NotFound: there is no such row.
        """
        ae_title = self._table.remove(row_id)
        if ae_title is None:
            raise NotFound("There is no such allowed AE title.")
        self._changed(by, "ae_title.delete", ae_title)

    def rejected(self, days: int, cursor: str | None, limit: int) -> Page[RejectedPeer]:
        """Return who was turned away in the last days, and whether allowing would help now."""
        config = self._settings.current().document
        rules = admission.access_rules(config, self._table.active())
        page = self._rejections.rejected(days, cursor, limit)
        items = [
            peer.model_copy(update={"can_be_allowed": _can_be_allowed(peer, rules)})
            for peer in page.items
        ]
        return Page(items=items, next_cursor=page.next_cursor)

    def allow(self, by: Principal, peer: PeerToAllow) -> Explanation:
        """Let a rejected peer in: its AE title, and its address where addresses are restricted."""
        known = self._table.by_title(peer.calling_ae)
        expected = peer.address if peer.only_from_address else ""
        if known is None:
            settings = AllowedAeTitleSettings(
                ae_title=peer.calling_ae, description=ALLOWED_FROM_REJECTION, expected_ip=expected
            )
            self._table.add(settings)
        elif not known.active or known.expected_ip not in {"", peer.address}:
            settings = AllowedAeTitleSettings(
                ae_title=known.ae_title, description=known.description, expected_ip=expected
            )
            self._table.replace(known.id, settings)
        config = self._settings.current().document
        if config.security.allowed_ips and not admission.within(
            peer.address, config.security.allowed_ips
        ):
            self._settings.allow_address(by, peer.address)
        self._changed(by, "peer.allow", f"{peer.calling_ae} {peer.address}")
        return self.explain(Proposal(calling_ae=peer.calling_ae, address=peer.address))

    def explain(self, proposal: Proposal) -> Explanation:
        """Return whether the receiver would accept a proposal, and why."""
        config = self._settings.current().document
        rules = admission.access_rules(config, self._table.active())
        request = _request(proposal, config)
        checks = list(_checks(proposal, request, rules, config))
        refused = admission.refuse(_peer(proposal.address), request, rules)
        if not config.services.enabled:
            return Explanation(
                accepted=False, verdict="the receiver is switched off", checks=checks
            )
        if refused is not None:
            return Explanation(
                accepted=False,
                verdict=refused.words,
                rejection=f"{refused.result}/{refused.source}/{refused.reason}",
                checks=checks,
            )
        return _negotiated(proposal, request, config, checks)

    def _changed(self, by: Principal, action: str, detail: str) -> None:
        self._audit.record(by, action, detail)
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.CONFIG))


def _negotiated(
    proposal: Proposal, request: AssociateRequest, config: ServerConfig, checks: list[Check]
) -> Explanation:
    if proposal.sop_class_uid is None:
        return Explanation(accepted=True, verdict="the association is accepted", checks=checks)
    answer = negotiation.negotiate(request, negotiation.capabilities(config))
    result = answer.results[0]
    accepted = result.result == negotiation.ACCEPTED
    words = CONTEXT_WORDS[result.result]
    return Explanation(
        accepted=accepted,
        verdict=words,
        transfer_syntax_uid=result.transfer_syntax if accepted else None,
        checks=[*checks, Check(rule="presentation context", passed=accepted, words=words)],
    )


def _peer(address: str) -> Peer:
    return Peer("", address, "")


def _request(proposal: Proposal, config: ServerConfig) -> AssociateRequest:
    sop_class = proposal.sop_class_uid or uids.VERIFICATION
    syntaxes = proposal.transfer_syntax_uids or (uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE)
    return AssociateRequest(
        proposal.calling_ae,
        proposal.called_ae or config.network.ae_title,
        (ProposedContext(CONTEXT_ID, sop_class, syntaxes),),
        UserInformation(),
    )


def _checks(
    proposal: Proposal,
    request: AssociateRequest,
    rules: admission.AccessRules,
    config: ServerConfig,
) -> Iterator[Check]:
    enabled = config.services.enabled
    yield Check(
        rule="receiver",
        passed=enabled,
        words="it is switched on" if enabled else "it is switched off",
    )
    networks = rules.allowed_networks
    passed = not networks or admission.within(proposal.address, networks)
    words = (
        f"{proposal.address} is {'' if passed else 'not '}among the allowed addresses"
        if networks
        else "addresses are not restricted"
    )
    yield Check(rule="address", passed=passed, words=words)
    ours = request.called_ae == rules.ae_title
    yield Check(
        rule="called AE title",
        passed=ours or not rules.check_called_ae,
        words=f"{request.called_ae} is {'' if ours else 'not '}ours"
        if rules.check_called_ae
        else "the called AE title is not checked",
    )
    yield _calling_check(proposal, rules)


def _calling_check(proposal: Proposal, rules: admission.AccessRules) -> Check:
    title = proposal.calling_ae
    expected = rules.expected_address.get(title)
    if not rules.validate_calling_ae:
        passed, words = True, "calling AE titles are not validated"
    elif expected is None:
        passed, words = False, f"{title} is not in the list of allowed AE titles"
    elif not expected:
        passed, words = True, f"{title} is allowed from any address"
    else:
        passed = admission.comparable(expected) == admission.comparable(proposal.address)
        words = f"{title} is expected from {expected}"
    return Check(rule="calling AE title", passed=passed, words=words)


def _can_be_allowed(peer: RejectedPeer, rules: admission.AccessRules) -> bool:
    """Return whether title or address is what stands between this peer and us now."""
    if peer.calling_ae is None or admission.comparable(peer.peer_address) is None:
        return False
    contexts = (ProposedContext(CONTEXT_ID, uids.VERIFICATION, (uids.IMPLICIT_LITTLE,)),)
    request = AssociateRequest(peer.calling_ae, rules.ae_title, contexts, UserInformation())
    refused: Reject | None = admission.refuse(_peer(peer.peer_address), request, rules)
    return refused in {admission.NOT_ALLOWED, admission.UNKNOWN_CALLING, admission.WRONG_ADDRESS}
