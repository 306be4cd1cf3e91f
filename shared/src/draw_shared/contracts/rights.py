"""What a calling AE title may ask of the receiver, and which certificates it is bound to.

Rights are kept by their names. A later release adds one with the service that it is for
(modality worklist, storage commitment); a release leaves out those that it does not know, so
that none is granted by mistake.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from draw_shared.contracts.fingerprints import checked_fingerprint
from draw_shared.contracts.texts import LINE


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


def _in_order(rights: tuple[Right, ...]) -> tuple[Right, ...]:
    return tuple(right for right in Right if right in rights)


Rights = Annotated[tuple[Right, ...], AfterValidator(_in_order)]
"""Rights, each once and in one order."""


def _checked_certificate(value: str) -> str:
    text = value.strip()
    if not text:
        raise ValueError("must be a name of the certificate or its SHA-256 fingerprint")
    try:
        return checked_fingerprint(text)
    except ValueError:
        return text


CertificateName = Annotated[str, Field(max_length=200), LINE, AfterValidator(_checked_certificate)]
"""Common name or host of a certificate, or its fingerprint as `fingerprints` writes it."""
