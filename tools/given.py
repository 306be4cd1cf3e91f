"""What the environment gives to the suite instead of what it would make: addresses and keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools.home import Home
from tools.service_process import SERVICES, own_variable

KEYS_VARIABLE: Final = "DRAW_TRANSACTION_KEYS"
OWN_ROLES: Final = "docs/install.md, Roles of the services"
"""Where it is said how services are told apart at somebody else's servers."""


def given_secret(given: Mapping[str, str], name: str) -> str:
    """Return a setting that may lie in a file; empty where it is not given."""
    path = given.get(f"{name}_FILE")
    return Path(path).read_text(encoding="utf-8").strip() if path else given.get(name, "")


def given_to_services(given: Mapping[str, str], address: str) -> dict[str, str]:
    """Return, by service, the addresses that the environment gives to single services."""
    told = {one.name: given_secret(given, own_variable(one.name, address)) for one in SERVICES}
    return {service: url for service, url in told.items() if url}


def transaction_keys(home: Home, given: Mapping[str, str]) -> dict[str, str]:
    """Return where the key of the transaction log is, made if nobody gave one."""
    if given.get(KEYS_VARIABLE) or given.get(f"{KEYS_VARIABLE}_FILE"):
        return {}
    home.make_transaction_keys()
    return {f"{KEYS_VARIABLE}_FILE": str(home.transaction_keys_file)}
