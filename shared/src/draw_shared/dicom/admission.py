"""Who may associate: titles, addresses and identity (PS3.8 9.3.4 gives result, source, reason)."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from draw_shared.contracts.addresses import address_of, network_of
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.dicom.associate import APPLICATION_CONTEXT, AssociateRequest
from draw_shared.dicom.service import Peer, Reject

PERMANENT: Final = 1
TRANSIENT: Final = 2
SERVICE_USER: Final = 1
ACSE_PROVIDER: Final = 2
PRESENTATION_PROVIDER: Final = 3

NOT_ALLOWED: Final = Reject(PERMANENT, SERVICE_USER, 1, "the address is not allowed")
WRONG_CONTEXT: Final = Reject(
    PERMANENT, SERVICE_USER, 2, "the application context name is not supported"
)
UNKNOWN_CALLING: Final = Reject(PERMANENT, SERVICE_USER, 3, "the calling AE title is not allowed")
WRONG_ADDRESS: Final = Reject(
    PERMANENT, SERVICE_USER, 3, "the calling AE title is expected from another address"
)
UNKNOWN_CALLED: Final = Reject(PERMANENT, SERVICE_USER, 7, "the called AE title is not ours")
WRONG_VERSION: Final = Reject(PERMANENT, ACSE_PROVIDER, 2, "the protocol version is not supported")
IDENTITY_REFUSED: Final = Reject(PERMANENT, ACSE_PROVIDER, 1, "user identity is not accepted")
CONGESTED: Final = Reject(TRANSIENT, PRESENTATION_PROVIDER, 1, "too many connections, try again")
GAVE_WAY: Final = Reject(
    TRANSIENT, PRESENTATION_PROVIDER, 1, "no request came, and others needed the connection"
)
LIMIT_EXCEEDED: Final = Reject(
    TRANSIENT, PRESENTATION_PROVIDER, 2, "too many associations, try again"
)


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The rules in force."""

    ae_title: str
    check_called_ae: bool
    validate_calling_ae: bool
    accept_user_identity: bool
    allowed_networks: tuple[str, ...]
    expected_address: Mapping[str, str]
    """Allowed calling AE titles; an empty address allows any."""


def access_rules(config: ServerConfig, allowed: Mapping[str, str]) -> AccessRules:
    """Return the rules of a configuration and its allowed calling AE titles."""
    security = config.security
    return AccessRules(
        config.network.ae_title,
        security.check_called_ae,
        security.validate_calling_ae,
        security.accept_user_identity,
        security.allowed_ips,
        allowed,
    )


def comparable(address: str) -> IPv4Address | IPv6Address | None:
    """Return an address for comparison, or None when it is none."""
    try:
        return address_of(address)
    except ValueError:
        return None


def within(address: str, networks: tuple[str, ...]) -> bool:
    """Return whether `address` lies in one of `networks`."""
    found = comparable(address)
    return found is not None and any(found in network_of(network) for network in networks)


def refuse(peer: Peer, request: AssociateRequest, rules: AccessRules) -> Reject | None:
    """Return why this peer may not associate, or None when it may."""
    if rules.allowed_networks and not within(peer.address, rules.allowed_networks):
        return NOT_ALLOWED
    if not request.protocol_version & 1:
        return WRONG_VERSION
    if request.application_context != APPLICATION_CONTEXT:
        return WRONG_CONTEXT
    if rules.check_called_ae and request.called_ae != rules.ae_title:
        return UNKNOWN_CALLED
    if request.user.identity is not None and not rules.accept_user_identity:
        return IDENTITY_REFUSED
    return _refuse_calling(peer, request.calling_ae, rules)


def _refuse_calling(peer: Peer, calling_ae: str, rules: AccessRules) -> Reject | None:
    if not rules.validate_calling_ae:
        return None
    expected = rules.expected_address.get(calling_ae)
    if expected is None:
        return UNKNOWN_CALLING
    if expected and comparable(expected) != comparable(peer.address):
        return WRONG_ADDRESS
    return None
