"""Decides who may associate: titles, addresses, certificates and identity (PS3.8 9.3.4)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from draw_shared.addresses import IpAddress, IpNetwork, address_of
from draw_shared.dicom.network.associate import APPLICATION_CONTEXT, AssociateRequest
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import Peer, Reject
from draw_shared.wording import message

MAX_CACHED_ADDRESSES: Final = 1024
"""Every query and retrieve checks its peer's address."""

PERMANENT: Final = 1
TRANSIENT: Final = 2
SERVICE_USER: Final = 1
ACSE_PROVIDER: Final = 2
PRESENTATION_PROVIDER: Final = 3

NOT_ALLOWED: Final = Reject(PERMANENT, SERVICE_USER, 1, message("the address is not allowed"))
WRONG_CONTEXT: Final = Reject(
    PERMANENT, SERVICE_USER, 2, message("the application context name is not supported")
)
UNKNOWN_CALLING: Final = Reject(
    PERMANENT, SERVICE_USER, 3, message("the calling AE title is not allowed")
)
WRONG_ADDRESS: Final = Reject(
    PERMANENT, SERVICE_USER, 3, message("the calling AE title is expected from another address")
)
NO_CERTIFICATE: Final = Reject(
    PERMANENT,
    SERVICE_USER,
    3,
    message("the calling AE title is bound to a certificate; none was shown"),
)
ANOTHER_CERTIFICATE: Final = Reject(
    PERMANENT, SERVICE_USER, 3, message("the calling AE title is bound to another certificate")
)
UNKNOWN_CALLED: Final = Reject(
    PERMANENT, SERVICE_USER, 7, message("the called AE title is not ours")
)
WRONG_VERSION: Final = Reject(
    PERMANENT, ACSE_PROVIDER, 2, message("the protocol version is not supported")
)
IDENTITY_REFUSED: Final = Reject(
    PERMANENT, ACSE_PROVIDER, 1, message("user identity is not accepted")
)
CONGESTED: Final = Reject(
    TRANSIENT, PRESENTATION_PROVIDER, 1, message("too many connections, try again")
)
GAVE_WAY: Final = Reject(
    TRANSIENT,
    PRESENTATION_PROVIDER,
    1,
    message("no request came, and others needed the connection"),
)
LIMIT_EXCEEDED: Final = Reject(
    TRANSIENT, PRESENTATION_PROVIDER, 2, message("too many associations, try again")
)
SHARE_EXCEEDED: Final = Reject(
    TRANSIENT,
    PRESENTATION_PROVIDER,
    2,
    message("too many associations, what is left is for others, try again"),
)
ADDRESS_LIMIT_EXCEEDED: Final = Reject(
    TRANSIENT, PRESENTATION_PROVIDER, 2, message("too many associations of this address, try again")
)
AE_TITLE_LIMIT_EXCEEDED: Final = Reject(
    TRANSIENT,
    PRESENTATION_PROVIDER,
    2,
    message("too many associations of this AE title, try again"),
)


@dataclass(frozen=True, slots=True)
class ListedPeer:
    """The rules for one calling AE title on the list."""

    expected_address: str = ""
    """The only address it may call from; empty: any."""
    rights: frozenset[Right] = frozenset(Right)
    move_destinations: frozenset[str] = frozenset()
    """AE titles to which its C-MOVE may send; empty: all."""
    certificates: tuple[str, ...] = ()
    """Names and fingerprints, one of which its certificate must have; empty: not bound."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The rules in force; by default everybody may associate, and unlisted AE titles may echo."""

    ae_title: str
    check_called_ae: bool = False
    validate_calling_ae: bool = False
    accept_user_identity: bool = True
    allowed_networks: tuple[IpNetwork, ...] = ()
    """Where peers may be; empty: anywhere."""
    listed: Mapping[str, ListedPeer] = field(default_factory=dict)
    """The list, by AE title."""
    unknown_rights: frozenset[Right] = frozenset({Right.ECHO})
    """Rights of AE titles that are not listed."""
    loopback_reads: bool = False
    """Whether unlisted AE titles may read when they call from this machine."""


@lru_cache(MAX_CACHED_ADDRESSES)
def comparable(address: str) -> IpAddress | None:
    """Return an address in comparable form, or None if it is not an address."""
    try:
        return address_of(address)
    except ValueError:
        return None


def within(address: str, networks: Iterable[IpNetwork]) -> bool:
    """Return whether `address` is in one of `networks`."""
    found = comparable(address)
    return found is not None and any(found in network for network in networks)


def refuse(peer: Peer, request: AssociateRequest, rules: AccessRules) -> Reject | None:
    """Return why this peer may not associate, or None if it may."""
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
    return refuse_calling(peer, request.calling_ae, rules)


def refuse_calling(peer: Peer, calling_ae: str, rules: AccessRules) -> Reject | None:
    """Return why a peer may not use its calling AE title, or None if it may."""
    listed = rules.listed.get(calling_ae)
    if listed is not None and listed.certificates:
        if peer.certificate is None:
            return NO_CERTIFICATE
        if not peer.certificate.is_one_of(listed.certificates):
            return ANOTHER_CERTIFICATE
    if not rules.validate_calling_ae:
        return None
    if listed is None:
        return UNKNOWN_CALLING
    return None if is_expected(listed, peer) else WRONG_ADDRESS


def is_expected(listed: ListedPeer, peer: Peer) -> bool:
    """Return whether a listed AE title calls from the expected address."""
    expected = listed.expected_address
    return not expected or comparable(expected) == comparable(peer.address)
