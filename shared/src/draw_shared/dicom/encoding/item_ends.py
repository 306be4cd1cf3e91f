"""Tells whose end an item end is that stands outside of every item of a sequence.

Either the delimiter of the sequence is missing and the item ends that the sequence lies in,
or the device wrote one item end too many. What follows tells: with the latter there are more
item ends than items. The scanner and the transcoder decide by this alone.
"""

import re
from typing import Final

LOOKED_AT_BYTES: Final = 4096
"""Where these do not tell, the delimiter of the sequence is missing."""
_ITEMS_AND_ENDS: Final = (
    re.compile(rb"\xfe\xff(?:\x00\xe0(\xff{4})|\x0d\xe0\0{4})"),
    re.compile(rb"\xff\xfe(?:\xe0\x00(\xff{4})|\xe0\x0d\0{4})"),
)
"""Items of undefined length and item ends, in little and in big endian."""


def ends_item_around(ahead: bytes, open_items: int, *, big_endian: bool) -> bool:
    """Return whether an item end ends the item that its sequence lies in, and is not doubled.

    `ahead` is what follows it, and `open_items` how many items of undefined length it lies in.
    """
    left = open_items - 1
    for met in _ITEMS_AND_ENDS[big_endian].finditer(ahead):
        left += 1 if met[1] else -1
        if left < 0:
            return False
    return open_items > 0
