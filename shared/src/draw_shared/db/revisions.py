"""The range of schemas that this release serves.

A schema has the name of its newest migration, and a release that of the newest migration it
contains. A release serves the schemas from `OLDEST_SERVED` to its own. It also serves later ones
as long as their migrations declare that releases of its age still work (`compatible_from`).
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

OLDEST_SERVED: Final = "0043"
"""The first schema with all the tables, columns and functions that this release names."""

VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"
REVISION: Final = re.compile("[0-9]{4}")
MIGRATE: Final = "run `draw-admin migrate` of this release"


@cache
def head_revision() -> str:
    """Return the newest revision that this release contains."""
    return max(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))


def is_later(found: str | None) -> bool:
    """Return whether a schema has migrations that this release does not contain."""
    return found is not None and REVISION.fullmatch(found) is not None and found > head_revision()


def why_not_served(found: str | None, compatible_from: str | None) -> str:
    """Return in one sentence why this release cannot work on a schema; empty if it can.

    Args:
        found: the schema's revision, None without a schema.
        compatible_from: the oldest release that works on the schema, as the schema declares.
    """
    own = head_revision()
    if found is None:
        return f"the database has no schema yet, this release needs {own}: {MIGRATE}"
    if REVISION.fullmatch(found) is None:
        return f"the database belongs to something else: its revision is {found!r}"
    if found < OLDEST_SERVED:
        return f"the schema is {found}, this release needs {OLDEST_SERVED} or later: {MIGRATE}"
    if is_later(found) and (compatible_from is None or compatible_from > own):
        since = f"releases from {compatible_from} on" if compatible_from else "later releases only"
        return (
            f"the schema is {found}, which serves {since}; this release is {own}: run a later one"
        )
    return ""
