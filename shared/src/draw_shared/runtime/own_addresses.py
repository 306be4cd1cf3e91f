"""The addresses by which other machines may reach this one."""

import socket
from collections.abc import Iterator
from typing import Final

ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation (RFC 5737, RFC 3849); nothing is sent to them."""
DISCARD_PORT: Final = 9


def own_addresses() -> list[str]:
    """Return the addresses from which this machine would call others; empty without a network."""
    return list(_sources())


def _sources() -> Iterator[str]:
    for family, elsewhere in ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as way:
                # For UDP this only looks up the route.
                way.connect((elsewhere, DISCARD_PORT))
                yield str(way.getsockname()[0])
        except OSError:
            continue
