"""Normalizes addresses of peers, so that they can be compared.

A listener for both IPv4 and IPv6 sees IPv4 peers as IPv4-mapped IPv6 addresses (RFC 4291
2.5.5.2). This module turns them, and mapped networks in configurations, into IPv4.
"""

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import Final

from draw_shared.wording import message

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

MAPPED: Final = IPv6Network("::ffff:0:0/96")
HOST_BITS: Final = 64


def address_of(text: str) -> IpAddress:
    """Return an address in its normal form, without the zone of a link-local one.

    Raises:
        ValueError: the text is not an address.
    """
    try:
        found = ip_address(text.strip().partition("%")[0])
    except ValueError:
        raise ValueError(message("must be an IPv4 or IPv6 address such as 192.0.2.17")) from None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def network_of(text: str) -> IpNetwork:
    """Return an address or CIDR block as a network, without host bits and zone.

    Raises:
        ValueError: the text is neither, or it is an IPv4-mapped address with an IPv4 prefix:
            without host bits `::ffff:192.0.2.17/32` would be all of `::/32`.
    """
    try:
        written = ip_interface(text.strip())
    except ValueError:
        raise ValueError(
            message(
                "must be an address or a network such as 192.0.2.17, 192.0.2.0/24 or 2001:db8::/32"
            )
        ) from None
    found = written.network
    mapped = isinstance(written, IPv6Address) and written.ipv4_mapped
    if mapped and found.prefixlen < MAPPED.prefixlen:
        raise ValueError(
            message(
                "must count the %(prefixlen)s bits before an IPv4-mapped address, or be "
                "an IPv4 network such as %(mapped)s/32",
                prefixlen=MAPPED.prefixlen,
                mapped=mapped,
            )
        )
    if isinstance(found, IPv6Network) and found.subnet_of(MAPPED):
        inner = int(found.network_address) - int(MAPPED.network_address)
        return IPv4Network((inner, found.prefixlen - MAPPED.prefixlen))
    if isinstance(found, IPv6Network):
        return IPv6Network((int(found.network_address), found.prefixlen))
    return found


def canonical(text: str) -> str:
    """Return the normal form of an address, or the text itself if it is not an address."""
    try:
        return str(address_of(text))
    except ValueError:
        return text


def budget_key(text: str) -> str:
    """Return the key of an address's budget: an IPv4 address itself, or the IPv6 /64 network.

    The owner of one IPv6 address usually has all 2^64 addresses of its /64 (RFC 6177).
    """
    try:
        found = address_of(text)
    except ValueError:
        return text
    if isinstance(found, IPv4Address):
        return str(found)
    return str(IPv6Network((int(found), HOST_BITS), strict=False))


def networks_of(text: str) -> str:
    """Return addresses and networks, separated by commas, in normal form.

    Raises:
        ValueError: one is neither; it would silently be nobody's.
    """
    return ",".join(str(network_of(one)) for one in text.split(",") if one.strip())
