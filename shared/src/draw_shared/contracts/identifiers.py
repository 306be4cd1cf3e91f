"""Constrained identifiers that events, configuration and the API share."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from draw_shared.contracts import texts
from draw_shared.wording import message

MAX_UID_LENGTH: Final = 64
MAX_AE_TITLE_LENGTH: Final = 16
FIRST_PRINTABLE: Final = 0x20
LAST_PRINTABLE: Final = 0x7E


def _checked_ae_title(value: str) -> str:
    """Return the title without padding; leading and trailing spaces do not count (PS3.5 6.2)."""
    title = value.strip(" ")
    if not title:
        raise ValueError(message("an AE title needs 1 to 16 characters"))
    if "\\" in title or any(not FIRST_PRINTABLE <= ord(c) <= LAST_PRINTABLE for c in title):
        raise ValueError(message("an AE title holds printable ASCII without backslash (PS3.5 6.2)"))
    return title


def _checked_own_ae_title(value: str) -> str:
    if value != value.upper():
        raise ValueError(message("this AE title is written in upper case"))
    return value


def _checked_optional_ae_title(value: str) -> str:
    return _checked_ae_title(value) if value.strip(" ") else ""


Uid = Annotated[str, Field(max_length=MAX_UID_LENGTH), texts.UID]
"""A unique identifier (PS3.5 9); leading zeros in a component are tolerated."""

OptionalUid = Annotated[str, Field(max_length=MAX_UID_LENGTH), texts.OPTIONAL_UID]
"""A unique identifier, or nothing."""

Sha256 = Annotated[str, texts.SHA256]
"""Hexadecimal SHA-256 of a data set's bytes as received, without preamble and file meta group."""

AeTitle = Annotated[str, Field(max_length=MAX_AE_TITLE_LENGTH), AfterValidator(_checked_ae_title)]
OptionalAeTitle = Annotated[
    str, Field(max_length=MAX_AE_TITLE_LENGTH), AfterValidator(_checked_optional_ae_title)
]
"""An AE title, or nothing."""

OwnAeTitle = Annotated[AeTitle, AfterValidator(_checked_own_ae_title)]
