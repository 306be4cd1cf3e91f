"""Hosts as people type them: one rule for remote nodes, webhooks and the listening address."""

import re
from ipaddress import ip_address
from typing import Annotated, Final

import idna
from pydantic import AfterValidator, Field

from draw_shared.wording import message

MAX_NAME_LENGTH: Final = 253
MAX_LABEL_LENGTH: Final = 63
LABEL: Final = re.compile(r"[A-Za-z0-9_-]+")
"""RFC 1123, and the underscore in names of containers and Windows machines."""
EXAMPLES: Final = message(
    "a host is a name such as pacs.example.org or an address such as 192.0.2.17"
)


def check_host(typed: str) -> str:
    """Return a host in the form for lookups: an international name is encoded by IDNA 2008.

    Raises:
        ValueError: it is neither a name nor an address; the message says why.
    """
    host = typed.strip()
    if not host:
        raise ValueError(EXAMPLES)
    if ":" in host or host.startswith("["):
        return _ipv6(host)
    if not host.isascii():
        host = _to_ascii(host)
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdigit():
        return _ipv4(host)
    if len(host.removesuffix(".")) > MAX_NAME_LENGTH:
        raise ValueError(
            message(
                "a host name has at most %(most)s characters",
                most=MAX_NAME_LENGTH,
            )
        )
    for label in labels:
        _check_label(label)
    return host


def _check_label(label: str) -> None:
    if not label:
        raise ValueError(message("a host name neither begins with a dot nor has two in a row"))
    if len(label) > MAX_LABEL_LENGTH:
        raise ValueError(
            message(
                "between its dots a host name has at most %(most)s characters",
                most=MAX_LABEL_LENGTH,
            )
        )
    if not LABEL.fullmatch(label):
        raise ValueError(
            message(
                "a host name holds letters, digits, hyphens and dots; %(examples)s",
                examples=EXAMPLES,
            )
        )
    if label.startswith("-") or label.endswith("-"):
        raise ValueError(message("no part of a host name begins or ends with a hyphen"))


def _to_ascii(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(message("this is not an international host name (IDNA)")) from error


def _ipv4(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError as error:
        raise ValueError(
            message("an IPv4 address has four numbers from 0 to 255, such as 192.0.2.17")
        ) from error


def _ipv6(host: str) -> str:
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        found = ip_address(inner)
    except ValueError as error:
        if re.fullmatch(r"(\[.*\]|[^:]+):[0-9]+", host):
            raise ValueError(message("the port has a field of its own")) from error
        raise ValueError(message("this is not an IPv6 address such as 2001:db8::17")) from error
    _, _, zone = inner.partition("%")
    if zone and not re.fullmatch(r"[A-Za-z0-9._-]+", zone):
        raise ValueError(message("the zone of an IPv6 address is the name of a network interface"))
    return str(found)


Host = Annotated[
    str,
    Field(max_length=1000, description="name or address", examples=["pacs.example.org"]),
    AfterValidator(check_host),
]
