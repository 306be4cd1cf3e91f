"""Limits of an acceptor: how many peers it serves at a time, and how long it waits for one."""

from dataclasses import dataclass
from typing import Final

from draw_shared.addresses import IpNetwork
from draw_shared.dicom.network.shares import Limits

DEFAULT_PLACES: Final = Limits(places=10, reserved=6)


@dataclass(frozen=True, slots=True)
class AssociationLimits:
    """Timeouts and sizes of one association."""

    acse_timeout_seconds: float = 30.0
    """Longest time to set up or release the association."""
    dimse_timeout_seconds: float = 30.0
    """Longest wait for the rest of a message."""
    network_timeout_seconds: float = 30.0
    """Longest silence between messages."""
    max_pdu_bytes: int = 16384
    """Longest P-DATA PDU that we announce to accept."""
    max_object_bytes: int = 8 * 1024**3
    """Longest data set of a C-STORE."""


@dataclass(frozen=True, slots=True)
class AcceptorLimits:
    """Largest numbers of connections and associations at a time, and the limits of each."""

    places: Limits = DEFAULT_PLACES
    """For associations; `reserved` applies to connections too."""
    max_connections: int = 300
    """Open sockets, with or without an association."""
    max_connections_per_address: int = 250
    association: AssociationLimits = AssociationLimits()
    trusted_proxies: tuple[IpNetwork, ...] = ()
    """Peers that must send a PROXY protocol header; they have no limit per address."""


DEFAULT_LIMITS: Final = AcceptorLimits()
