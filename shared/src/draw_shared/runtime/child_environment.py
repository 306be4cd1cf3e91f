"""The environment of a child process: what it needs to run, and none of its parent's secrets.

Children read what strangers send. Whatever becomes of one, it was never told how to reach the
database or the broker, nor any password; open descriptors it gets only those that it is handed.
"""

import os
from collections.abc import Mapping
from typing import Final

from draw_shared.runtime.settings import SettingsGroup, variable_name

KEPT: Final = frozenset({"HOME", "LANG", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV", "DRAW_SUITE"})
"""What any program may need; `DRAW_SUITE` is how the launcher knows whose child it is."""
KEPT_PREFIXES: Final = ("LC_", "LD_", "PYTHON")


def child_environment(
    settings: type[SettingsGroup] | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a child that reads these settings, or none at all.

    Args:
        settings: what the child reads; everything else of ours it does not see.
        environment: of the parent; default: of this process.
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
