"""Explains the receiver's decision about a peer, rule by rule and right by right."""

from collections.abc import Iterator
from typing import Final

from draw_api.models.peers import Check, Explanation, Proposal, RejectedPeer, RightAnswer
from draw_shared.contracts.association_rules import capabilities
from draw_shared.contracts.server_config import ClientCertificates, ServerConfig
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.network import admission, negotiation
from draw_shared.dicom.network.associate import AssociateRequest, ProposedContext, UserInformation
from draw_shared.dicom.network.authorization import (
    Standing,
    authorize,
    denial,
    denied_destination,
    denied_rights,
    determine_standing,
)
from draw_shared.dicom.network.rights import READING, Right
from draw_shared.dicom.network.service import Accept, Peer, PeerCertificate, Reject
from draw_shared.wording import message

CONTEXT_ID: Final = 1
CONTEXT_WORDS: Final = {
    negotiation.ACCEPTED: message("the SOP class is accepted in this transfer syntax"),
    negotiation.ABSTRACT_SYNTAX_NOT_SUPPORTED: message("the SOP class is not switched on"),
    negotiation.TRANSFER_SYNTAXES_NOT_SUPPORTED: message(
        "none of the transfer syntaxes is switched on"
    ),
}
CURABLE: Final = (admission.NOT_ALLOWED, admission.UNKNOWN_CALLING, admission.WRONG_ADDRESS)
"""Rejections that allowing the peer prevents."""
SERVICES: Final = {
    Right.ECHO: "c_echo",
    Right.STORE: "c_store",
    Right.QUERY: "c_find",
    Right.RETRIEVE: "c_get",
    Right.MOVE: "c_move",
}
"""The switches in the configuration, by the rights that need them."""


def explain_proposal(
    proposal: Proposal, config: ServerConfig, rules: admission.AccessRules
) -> Explanation:
    """Return whether the receiver would accept a proposal, what the peer may do, and why."""
    peer = _peer(proposal)
    request = _request(proposal, config)
    checks = list(_checks(proposal, request, rules, config))
    refused = admission.refuse(peer, request, rules)
    found = determine_standing(peer, proposal.calling_ae, rules)
    closed = refused.words if refused is not None else ""
    if not config.services.enabled:
        closed = message("the receiver is switched off")
    answer = Explanation(
        accepted=not closed,
        verdict=closed or message("the association is accepted"),
        checks=checks,
        rights=[_right_answer(right, found, closed, config) for right in Right],
    )
    if not config.services.enabled:
        return answer
    if refused is not None:
        return answer.model_copy(update={"rejection": _numbers(refused)})
    if proposal.sop_class_uid is None:
        return answer
    decision = authorize(peer, request, rules, capabilities(config))
    return _add_negotiation(answer, decision, found)


def with_denial(peer: RejectedPeer) -> RejectedPeer:
    """Return a rejected peer with the rights and the destination that its reason names."""
    return peer.model_copy(
        update={
            "denied_rights": denied_rights(peer.reason),
            "denied_destination": denied_destination(peer.reason),
        }
    )


def can_be_allowed(peer: RejectedPeer, rules: admission.AccessRules) -> bool:
    """Return whether allowing the AE title, the address or a right would admit this peer now."""
    if (
        peer.calling_ae is None
        or peer.title_problem
        or admission.comparable(peer.peer_address) is None
    ):
        return False
    refused = refusal(peer.calling_ae, peer.peer_address, rules)
    if refused is not None:
        return refused in CURABLE
    found = determine_standing(Peer("", peer.peer_address, ""), peer.calling_ae, rules)
    if peer.denied_destination:
        return not found.may_move_to(peer.denied_destination)
    return any(right not in found.rights for right in peer.denied_rights)


def refusal(calling_ae: str, address: str, rules: admission.AccessRules) -> Reject | None:
    """Return why an association of this peer would be rejected, or None."""
    contexts = (ProposedContext(CONTEXT_ID, uids.VERIFICATION, (uids.IMPLICIT_LITTLE,)),)
    request = AssociateRequest(calling_ae, rules.ae_title, contexts, UserInformation())
    return admission.refuse(Peer("", address, ""), request, rules)


def _numbers(refused: Reject) -> str:
    return f"{refused.result}/{refused.source}/{refused.reason}"


def _add_negotiation(
    answer: Explanation, decision: Accept | Reject, found: Standing
) -> Explanation:
    """Return the explanation with the decision about the presentation context."""
    told: dict[str, object] = {}
    if isinstance(decision, Reject):
        accepted, words = False, decision.words
        told["rejection"] = _numbers(decision)
    else:
        result = decision.results[0]
        accepted = result.result == negotiation.ACCEPTED
        words = CONTEXT_WORDS.get(result.result) or denial(decision.denied, found)
        told["transfer_syntax_uid"] = result.transfer_syntax if accepted else None
    check = Check(rule=message("presentation context"), passed=accepted, words=words)
    told |= {"accepted": accepted, "verdict": words, "checks": [*answer.checks, check]}
    return answer.model_copy(update=told)


def _right_answer(right: Right, found: Standing, closed: str, config: ServerConfig) -> RightAnswer:
    """Return whether a peer may use a service now."""
    if closed:
        return RightAnswer(right=right, granted=False, words=closed)
    if right not in found.rights:
        return RightAnswer(right=right, granted=False, words=_lacking(right, found))
    if not getattr(config.services, SERVICES[right]):
        return RightAnswer(right=right, granted=False, words=message("the service is switched off"))
    words = found.words
    if right is Right.MOVE:
        words = (
            f"{words}: to {', '.join(sorted(found.destinations))}"
            if found.destinations
            else message("%(standing)s: to every remote node", standing=words)
        )
    return RightAnswer(right=right, granted=True, words=words)


def _lacking(right: Right, found: Standing) -> str:
    if found.listed:
        return message("the AE title is on the list without this right")
    if right in READING:
        return message("%(standing)s, which reading needs", standing=found.words)
    return message("%(standing)s, and others may not %(right)s", standing=found.words, right=right)


def _peer(proposal: Proposal) -> Peer:
    """Return the peer of a proposal, with a certificate that has the given name or fingerprint."""
    text = proposal.certificate
    shown = PeerCertificate(fingerprint=text, common_name=text) if text else None
    return Peer("", proposal.address, "", certificate=shown)


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
        rule=message("receiver"),
        passed=enabled,
        words=message("it is switched on") if enabled else message("it is switched off"),
    )
    networks = rules.allowed_networks
    passed = not networks or admission.within(proposal.address, networks)
    if not networks:
        words = message("addresses are not restricted")
    elif passed:
        words = message("%(address)s is among the allowed addresses", address=proposal.address)
    else:
        words = message("%(address)s is not among the allowed addresses", address=proposal.address)
    yield Check(rule=message("address"), passed=passed, words=words)
    ours = request.called_ae == rules.ae_title
    if not rules.check_called_ae:
        words = message("the called AE title is not checked")
    elif ours:
        words = message("%(title)s is ours", title=request.called_ae)
    else:
        words = message("%(title)s is not ours", title=request.called_ae)
    yield Check(
        rule=message("called AE title"), passed=ours or not rules.check_called_ae, words=words
    )
    listed = rules.listed.get(proposal.calling_ae)
    if listed is not None and listed.certificates:
        yield _certificate_check(proposal, listed, config)
    yield _calling_check(proposal, rules)


def _certificate_check(
    proposal: Proposal, listed: admission.ListedPeer, config: ServerConfig
) -> Check:
    shown = _peer(proposal).certificate
    passed = shown is not None and shown.is_one_of(listed.certificates)
    words = message(
        "%(title)s is bound to %(certificates)s",
        title=proposal.calling_ae,
        certificates=", ".join(listed.certificates),
    )
    tls = config.network.tls
    if not tls.enabled or tls.client_certificates is ClientCertificates.NONE:
        words = message(
            "%(binding)s; certificates of peers are not asked for (network.tls)", binding=words
        )
        return Check(rule=message("certificate"), passed=passed, words=words)
    return Check(rule=message("certificate"), passed=passed, words=words)


def _calling_check(proposal: Proposal, rules: admission.AccessRules) -> Check:
    title = proposal.calling_ae
    listed = rules.listed.get(title)
    if not rules.validate_calling_ae:
        passed, words = True, message("calling AE titles are not validated")
    elif listed is None:
        passed, words = (
            False,
            message("%(title)s is not in the list of allowed AE titles", title=title),
        )
    elif not listed.expected_address:
        passed, words = True, message("%(title)s is allowed from any address", title=title)
    else:
        passed = admission.is_expected(listed, _peer(proposal))
        words = message(
            "%(title)s is expected from %(address)s",
            title=title,
            address=listed.expected_address,
        )
    return Check(rule=message("calling AE title"), passed=passed, words=words)
