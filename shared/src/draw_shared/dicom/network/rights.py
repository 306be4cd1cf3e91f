"""What a calling AE title may ask of a receiver.

Rights are kept by their names. A later release adds one with the service that it is for
(modality worklist, storage commitment); a release leaves out those that it does not know, so
that none is granted by mistake.
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
"""Rights by which what is stored here becomes known elsewhere."""

EVERY_RIGHT: Final = tuple(Right)
"""What an AE title on the list may do unless somebody has chosen otherwise."""


def known_rights(names: Iterable[str]) -> frozenset[Right]:
    """Return the rights that this release knows among these names."""
    named = frozenset(names)
    return frozenset(right for right in Right if right in named)
