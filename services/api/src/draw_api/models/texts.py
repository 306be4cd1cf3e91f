"""Forms of texts in addresses, parameters and forms."""

import re
from collections.abc import Iterable
from typing import Final

from draw_shared.contracts.texts import TextForm
from draw_shared.wording import message

QUEUE_NAME: Final = TextForm(
    r"^[a-z.-]{1,64}$", message("must be the name of a queue such as indexer.dead")
)
SHORT_HASH: Final = TextForm(r"^[0-9a-f]{24}$", message("must be 24 hexadecimal digits"))
SORT_KEY: Final = TextForm(
    r"^-?[A-Za-z0-9]{0,64}$",
    message("must be a keyword such as StudyDate, with - before it for descending"),
)
REPLICA_NAME: Final = TextForm(
    r"^[A-Za-z0-9._-]{1,64}$", message("must be the name of a replica such as pacs1-scp")
)
MODALITY: Final = TextForm(
    r"^[A-Z0-9_ ]{0,16}$", message("must be a modality in capitals such as CT")
)

DIGITS: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def whole_number(text: str) -> int | None:
    """Return the whole number in the text; None if no row or field can have it."""
    number = DIGITS.fullmatch(text.strip())
    return int(number[0]) if number else None


def whole_numbers(texts: Iterable[str]) -> list[int]:
    """Return those of the texts that are whole numbers, as numbers."""
    return [number for one in texts if (number := whole_number(one)) is not None]
