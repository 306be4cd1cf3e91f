"""What an acceptor bounds: how many peers it serves at a time, and how long it waits for one."""

from dataclasses import dataclass
from typing import Final

from draw_shared.addresses import IpNetwork
from draw_shared.dicom.network.shares import Limits

DEFAULT_PLACES: Final = Limits(places=10, reserved=6)


@dataclass(frozen=True, slots=True)
class AssociationLimits:
    """Waits and sizes of one association."""

    acse_timeout_seconds: float = 30.0
    """Longest wait for the association to be set up or released."""
    dimse_timeout_seconds: float = 30.0
    """Longest wait for the rest of a message."""
    network_timeout_seconds: float = 30.0
    """Longest silence between messages."""
    max_pdu_bytes: int = 16384
    """Longest P-DATA PDU that we announce to take."""
    max_object_bytes: int = 8 * 1024**3
    """Longest data set of a C-STORE."""


@dataclass(frozen=True, slots=True)
class AcceptorLimits:
    """How many connections and associations there may be at a time, and the limits of each."""

    places: Limits = DEFAULT_PLACES
    """Associations; `reserved` counts for connections too."""
    max_connections: int = 300
    """Open sockets, associated or not."""
    max_connections_per_address: int = 250
    association: AssociationLimits = AssociationLimits()
    trusted_proxies: tuple[IpNetwork, ...] = ()
    """Peers that must send a PROXY protocol header; no limit per address holds for them."""


DEFAULT_LIMITS: Final = AcceptorLimits()
