"""Constrained identifiers that events, configuration and the API share."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

MAX_UID_LENGTH: Final = 64
MAX_AE_TITLE_LENGTH: Final = 16
FIRST_PRINTABLE: Final = 0x20
LAST_PRINTABLE: Final = 0x7E


def _checked_ae_title(value: str) -> str:
    """Return the title without padding; spaces at either end are not significant (PS3.5 6.2)."""
    title = value.strip(" ")
    if not title:
        raise ValueError("an AE title needs 1 to 16 characters")
    if "\\" in title or any(not FIRST_PRINTABLE <= ord(c) <= LAST_PRINTABLE for c in title):
        raise ValueError("an AE title holds printable ASCII without backslash (PS3.5 6.2)")
    return title


def _checked_own_ae_title(value: str) -> str:
    if value != value.upper():
        raise ValueError("this AE title is written in upper case")
    return value


Uid = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=MAX_UID_LENGTH)]
"""A unique identifier (PS3.5 9); leading zeros in a component are tolerated."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""Hexadecimal SHA-256 of a data set's bytes as received, without preamble and file meta group."""

AeTitle = Annotated[str, Field(max_length=MAX_AE_TITLE_LENGTH), AfterValidator(_checked_ae_title)]
OwnAeTitle = Annotated[AeTitle, AfterValidator(_checked_own_ae_title)]
