"""Addresses and keys that the environment sets in place of the suite's private ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools.home import Home
from tools.service_process import SERVICES, own_variable

KEYS_VARIABLE: Final = "DRAW_TRANSACTION_KEYS"
OWN_ROLES: Final = "docs/install.md, Roles of the services"
"""The page that explains separate roles of the services on external servers."""


def given_secret(given: Mapping[str, str], name: str) -> str:
    """Return a setting, read from its file if one is named; empty if it is not set."""
    path = given.get(f"{name}_FILE")
    return Path(path).read_text(encoding="utf-8").strip() if path else given.get(name, "")


def given_to_services(given: Mapping[str, str], address: str) -> dict[str, str]:
    """Return the addresses that the environment sets for single services, by service."""
    told = {one.name: given_secret(given, own_variable(one.name, address)) for one in SERVICES}
    return {service: url for service, url in told.items() if url}


def transaction_keys(home: Home, given: Mapping[str, str]) -> dict[str, str]:
    """Return the setting for the transaction log's key, which is generated if none is set."""
    if given.get(KEYS_VARIABLE) or given.get(f"{KEYS_VARIABLE}_FILE"):
        return {}
    home.make_transaction_keys()
    return {f"{KEYS_VARIABLE}_FILE": str(home.transaction_keys_file)}
