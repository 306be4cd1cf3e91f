"""Addresses that webhooks must not reach, because they serve secrets to the machine itself.

Addresses of the hospital's network and of this machine are allowed, because handlers run there.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

METADATA_ADDRESSES: Final = frozenset(
    ip_address(address)
    for address in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
"""Addresses of cloud credential services, besides 169.254.169.254 (link-local)."""
NAT64: Final = ip_network("64:ff9b::/96")


def is_refused(address: str) -> bool:
    """Return whether webhooks to this numeric address are refused.

    Raises:
        ValueError: the text is not a numeric address.
    """
    found = _plain(ip_address(address.partition("%")[0]))
    return (
        found.is_link_local
        or found.is_multicast
        or found.is_unspecified
        or (isinstance(found, IPv4Address) and found.packed[0] in {0, 255})
        or found in METADATA_ADDRESSES
    )


def numeric_address(host: str) -> str | None:
    """Return the address of a numeric `host`, in any notation that C libraries read, or None."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        # 2852039166, 0xa9fea9fe and 169.254.43518 are 169.254.169.254 for a resolver.
        return str(IPv4Address(socket.inet_aton(host)))
    except (OSError, UnicodeError):
        return None


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address embeds, or the address itself."""
    if not isinstance(address, IPv6Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    wraps = address in NAT64 or (address.packed[:12] == bytes(12) and int(address) > 1)
    return IPv4Address(address.packed[12:]) if wraps else address
