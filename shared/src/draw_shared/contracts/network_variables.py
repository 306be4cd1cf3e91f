"""Environment variables for the listening addresses and the AE title of a new suite."""

import re
from collections.abc import Mapping
from typing import Final

DIGITS: Final = re.compile(r"[0-9]{1,9}")
NETWORK_VARIABLES: Final = {
    "host": "DRAW_SCP_HOST",
    "port": "DRAW_SCP_PORT",
    "ae_title": "DRAW_SCP_AE_TITLE",
}
"""The environment variable of each network setting."""


def network_settings(environment: Mapping[str, str]) -> dict[str, str | int]:
    """Return the network settings in the environment; digits become a number."""
    told = {
        field: environment[variable]
        for field, variable in NETWORK_VARIABLES.items()
        if environment.get(variable)
    }
    return {
        field: int(text) if field == "port" and DIGITS.fullmatch(text) else text
        for field, text in told.items()
    }
