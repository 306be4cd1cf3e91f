"""The environment of a child process: what it needs to run, and none of its parent's secrets.

Children parse input of untrusted peers. Even a compromised child knows neither a password nor the
addresses of database and broker, and it inherits only the descriptors passed to it explicitly.
"""

import os
from collections.abc import Mapping
from typing import Final

from draw_shared.runtime.settings import SettingsGroup, variable_name

KEPT: Final = frozenset({"HOME", "LANG", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV", "DRAW_SUITE"})
"""Variables that any program may need; `DRAW_SUITE` tells the launcher whose child it is."""
KEPT_PREFIXES: Final = ("LC_", "LD_", "PYTHON")


def child_environment(
    settings: type[SettingsGroup] | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a child that reads these settings, if any.

    Args:
        settings: the settings that the child reads; it sees no other variables of the suite.
        environment: environment of the parent; default: that of this process.
    """
    given = os.environ if environment is None else environment
    read = variables(settings) if settings is not None else frozenset[str]()
    return {
        name: value
        for name, value in given.items()
        if name in KEPT or name in read or name.startswith(KEPT_PREFIXES)
    }


def variables(settings: type[SettingsGroup]) -> frozenset[str]:
    """Return every environment variable that these settings are read from."""
    own = {variable_name(field, name) for name, field in settings.model_fields.items()}
    return frozenset(own | {f"{name}_FILE" for name in own})
