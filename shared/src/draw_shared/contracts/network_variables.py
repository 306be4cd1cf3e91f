"""What the environment says of where a new suite listens, and under which AE title."""

import re
from collections.abc import Mapping
from typing import Final

DIGITS: Final = re.compile(r"[0-9]{1,9}")
NETWORK_VARIABLES: Final = {
    "host": "DRAW_SCP_HOST",
    "port": "DRAW_SCP_PORT",
    "ae_title": "DRAW_SCP_AE_TITLE",
}
"""Variables of the environment by the setting of the network that they give."""


def network_told(environment: Mapping[str, str]) -> dict[str, str | int]:
    """Return the settings of the network that the environment gives; digits are a number."""
    told = {
        field: environment[variable]
        for field, variable in NETWORK_VARIABLES.items()
        if environment.get(variable)
    }
    return {
        field: int(text) if field == "port" and DIGITS.fullmatch(text) else text
        for field, text in told.items()
    }
