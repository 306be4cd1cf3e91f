"""An item end outside of an item is told from one too many by what follows it.

Whole data sets with such ends are in tests/unit/shared/storage/test_identification.py and
tests/unit/shared/dicom/transcoding/test_odd_data_sets.py.
"""

import pytest

from draw_shared.dicom.encoding.item_ends import LOOKAHEAD_BYTES, ends_item_around
from draw_shared.dicom.encoding.scan import EXPLICIT
from draw_shared.dicom.encoding.uids import EXPLICIT_BIG, EXPLICIT_LITTLE
from draw_shared.dicom.encoding.walk import WalkEnd
from support import odd_data_sets as odd


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, EXPLICIT_BIG])
@pytest.mark.parametrize(
    ("follows", "open_items", "ends"),
    [
        ("", 0, False),
        ("", 1, True),
        ("sequence end", 1, True),
        ("sequence end, item end", 1, False),
        ("sequence end, item end", 2, True),
        ("sequence end, item end, sequence end, item end", 2, False),
        ("item, item end, sequence end", 1, True),
        ("item, item end, item end, sequence end", 1, False),
        ("empty item, item end", 1, False),
    ],
)
def test_more_item_ends_than_items_are_one_too_many(follows, open_items, ends, syntax):
    marks = {
        "": b"",
        "item": odd.mark(0xE000, odd.UNDEFINED, syntax),
        "empty item": odd.mark(0xE000, 0, syntax),
        "item end": odd.mark(0xE00D, 0, syntax),
        "sequence end": odd.mark(0xE0DD, 0, syntax),
    }
    ahead = b"".join(marks[name] for name in follows.split(", "))
    assert ends_item_around(ahead, open_items, big_endian=syntax == EXPLICIT_BIG) is ends


def test_a_beginning_that_ends_behind_an_item_end_is_too_short_to_tell():
    sequence = odd.sequence(0x00081115, odd.sequence(0x00081199, odd.REFERENCE, end=False))
    data = odd.data_set(odd.new_object(), (0x00081115, sequence))
    end = data.index(odd.mark(0xE00D) * 2) + 16
    wanted = frozenset((0x0020000D,))
    cut = EXPLICIT.gather(data[:end], wanted, last=0x0020000D, whole=False)
    assert cut.ending is WalkEnd.CUT
    more = data + odd.element(0xFFFCFFFC, "OB", bytes(LOOKAHEAD_BYTES))
    found = EXPLICIT.gather(more, wanted, last=0x0020000D, whole=False)
    assert found.ending is WalkEnd.PASSED
