"""The rights of calling AE titles at a receiver.

Rights are stored by name. A later release adds a right together with its service (modality
worklist, storage commitment). A release ignores the names that it does not know, so that no right
is granted by mistake.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Right(StrEnum):
    """One service that a peer may use as SCU."""

    ECHO = "echo"
    """Verification, C-ECHO."""
    STORE = "store"
    """Storage, C-STORE."""
    QUERY = "query"
    """C-FIND."""
    RETRIEVE = "retrieve"
    """C-GET."""
    MOVE = "move"
    """C-MOVE."""


READING: Final = frozenset({Right.QUERY, Right.RETRIEVE, Right.MOVE})
"""Rights that let stored data become known elsewhere."""

EVERY_RIGHT: Final = tuple(Right)
"""The rights of a listed AE title unless somebody has chosen others."""


def known_rights(names: Iterable[str]) -> frozenset[Right]:
    """Return the rights that this release knows among these names."""
    named = frozenset(names)
    return frozenset(right for right in Right if right in named)
