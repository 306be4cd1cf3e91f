"""Determines which item is ended by an item end outside every item of a sequence.

Either the delimiter of the sequence is missing and the item end belongs to the item around the
sequence, or the device wrote one item end too many. What follows decides: in the latter case there
are more item ends than items. The scanner and the transcoder both decide by this function alone.
"""

import re
from typing import Final

LOOKAHEAD_BYTES: Final = 4096
"""If these bytes do not decide, the delimiter of the sequence is missing."""
_ITEMS_AND_ENDS: Final = (
    re.compile(rb"\xfe\xff(?:\x00\xe0(\xff{4})|\x0d\xe0\0{4})"),
    re.compile(rb"\xff\xfe(?:\xe0\x00(\xff{4})|\xe0\x0d\0{4})"),
)
"""Items of undefined length and item ends, in little and in big endian."""


def ends_item_around(ahead: bytes, open_items: int, *, big_endian: bool) -> bool:
    """Return whether an item end ends the item around its sequence, and is not a duplicate.

    `ahead` is what follows it, and `open_items` the number of open items of undefined length.
    """
    left = open_items - 1
    for met in _ITEMS_AND_ENDS[big_endian].finditer(ahead):
        left += 1 if met[1] else -1
        if left < 0:
            return False
    return open_items > 0
