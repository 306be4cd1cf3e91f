"""Formats of texts, each with an error message that explains it."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from draw_shared.wording import message


@dataclass(frozen=True, slots=True)
class TextForm:
    """Constrains an `Annotated[str, ...]` to a format; `words` is the error message.

    Error messages never show the regular expression; the JSON schema has it as `pattern`.
    """

    pattern: str
    """Must match the whole text, even without anchors."""
    words: str

    def checked(self, value: str) -> str:
        """Return the text; raise ValueError with the words if it does not match."""
        if re.fullmatch(self.pattern, value) is None:
            raise ValueError(self.words)
        return value

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check the format after all other constraints."""
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the pattern to the JSON schema."""
        found = handler(schema)
        handler.resolve_ref_schema(found)["pattern"] = self.pattern
        return found


LINE: Final = TextForm(
    r"^[^\x00-\x1f\x7f]*$", message("must be one line of text without tabs and control characters")
)
UID: Final = TextForm(
    r"^[0-9]+(\.[0-9]+)*$",
    message("must be a UID: numbers divided by dots, such as 1.2.840.10008.1.1"),
)
OPTIONAL_UID: Final = TextForm(r"^([0-9]+(\.[0-9]+)*)?$", UID.words)
SHA256: Final = TextForm(r"^[0-9a-f]{64}$", message("must be a SHA-256: 64 hexadecimal digits"))
NewPassword = Annotated[SecretStr, Field(min_length=10, max_length=200)]
"""A valid new password, on the page, over REST and in the environment."""
