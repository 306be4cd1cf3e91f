"""The languages that the page speaks."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from draw_api.models.paging import Request

SOURCE_LANGUAGE: Final = "en"
"""The language of the texts in the code."""

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "de": "Deutsch"}
"""What each language calls itself, by ISO 639-1."""


class LanguageChoice(Request):
    """The language that a user chooses for the page."""

    language: Literal["", "en", "de"] = Field(
        description="ISO 639-1; empty: as the browser asks for", examples=["de"]
    )
