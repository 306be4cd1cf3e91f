"""How texts are written, each with words for whoever writes it otherwise."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, slots=True)
class TextForm:
    """Stands in an `Annotated[str, ...]`: the text has this form, or the words say what is wanted.

    Nobody is shown a regular expression; the JSON schema has it as `pattern`.
    """

    pattern: str
    """For the whole text, also without its anchors."""
    words: str

    def checked(self, value: str) -> str:
        """Return the text; ValueError with the words when it is written otherwise."""
        if re.fullmatch(self.pattern, value) is None:
            raise ValueError(self.words)
        return value

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check after everything else that is said of the text."""
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Tell programs the pattern."""
        found = handler(schema)
        handler.resolve_ref_schema(found)["pattern"] = self.pattern
        return found


LINE: Final = TextForm(
    r"^[^\x00-\x1f\x7f]*$", "must be one line of text without tabs and control characters"
)
UID: Final = TextForm(
    r"^[0-9]+(\.[0-9]+)*$", "must be a UID: numbers divided by dots, such as 1.2.840.10008.1.1"
)
OPTIONAL_UID: Final = TextForm(r"^([0-9]+(\.[0-9]+)*)?$", UID.words)
SHA256: Final = TextForm(r"^[0-9a-f]{64}$", "must be a SHA-256: 64 hexadecimal digits")
NewPassword = Annotated[SecretStr, Field(min_length=10, max_length=200)]
"""What somebody may take as a password, on the page, over REST and in the environment."""
