"""What every part of the document of the rules has in common."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from draw_shared.contracts.texts import LINE
from draw_shared.wording import message

MAX_NAME_LENGTH: Final = 100

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH), LINE]
"""The name of a rule or a destination."""

AT_ITS_ENDS: Final = message("must not begin or end with a blank")
"""What is said of a name that others would take for one without; such a one in force stays."""

Problem = tuple[tuple[int | str, ...], str]
"""A place in the document, and in words what is wrong there."""


class RoutingPart(BaseModel):
    """A part of the document; unknown fields are an error, so that a typing mistake is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
