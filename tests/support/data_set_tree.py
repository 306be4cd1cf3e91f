"""A second, plain reading of a data set: every value by its path, as the bytes that it has.

Reads well-formed data sets in memory. Values that look like items are read as items, so that
a sequence is one whether its VR is written, known or neither.
"""

from struct import error, pack, unpack_from

from pydicom.datadict import dictionary_VR

from draw_shared.dicom.encoding.uids import EXPLICIT_BIG, IMPLICIT_LITTLE

WIDTHS = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""VRs of numbers that follow the byte order (PS3.5 7.3)."""
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
FORMS_OF_32_BITS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}

Path = tuple[int, ...]


def tree(raw: bytes, transfer_syntax_uid: str) -> dict[Path, tuple[str, bytes]]:
    """Return (VR, value in little endian) by path: tags and numbers of items.

    The VR is empty where none is written. Group lengths are left out. A sequence has the VR
    `SQ` and no value, an encapsulated value its fragments. The path of an element that stood
    before in its data set ends with -1, for each time.
    """
    explicit = transfer_syntax_uid != IMPLICIT_LITTLE
    order = ">" if transfer_syntax_uid == EXPLICIT_BIG else "<"
    found: dict[Path, tuple[str, bytes]] = {}
    end = _data_set(raw, 0, len(raw), (), (explicit, order), found)
    assert end == len(raw), (end, len(raw))
    return found


def in_order(value: bytes, vr: str) -> bytes:
    """Return the numbers of a value in the other byte order."""
    width = WIDTHS.get(vr, 1)
    whole = len(value) - len(value) % width
    return b"".join(value[at : at + width][::-1] for at in range(0, whole, width)) + value[whole:]


def _data_set(raw, at, end, path, form, found):
    explicit, order = form
    while at < end:
        group, element = unpack_from(order + "HH", raw, at)
        tag = group << 16 | element
        if tag == 0xFFFEE00D:
            return at + 8
        vr = ""
        if explicit:
            vr = raw[at + 4 : at + 6].decode("latin-1")
            long = vr in FORMS_OF_32_BITS
            (length,) = unpack_from(order + ("I" if long else "H"), raw, at + (8 if long else 6))
            at += 12 if long else 8
        else:
            (length,) = unpack_from(order + "I", raw, at + 4)
            at += 8
        here = (*path, tag)
        while here in found:
            here = (*here, -1)
        if length == UNDEFINED:
            inner = (False, "<") if vr == "UN" else form
            if vr in {"", "SQ", "UN"} and tag != PIXEL_DATA:
                found[here] = "SQ", b""
                at = _items(raw, at, end, here, inner, found)
            else:
                at = _fragments(raw, at, here, vr, order, found)
            continue
        stop = at + length
        assert stop <= end, (f"{tag:08X}", stop, end)
        if element:
            _value(raw, at, stop, here, vr, form, found)
        at = stop
    return at


def _value(raw, at, stop, here, vr, form, found):
    value = raw[at:stop]
    opaque = vr in {"", "UN"}
    inner = (False, "<") if vr == "UN" else form
    item = b"\xff\xfe\xe0\x00" if inner[1] == ">" else b"\xfe\xff\x00\xe0"
    sequence = vr == "SQ" or (opaque and (value[:4] == item or (not value and _named(here))))
    if sequence:
        held = {here: ("SQ", b"")}
        try:
            whole = _items(raw, at, stop, here, inner, held) == stop
        except (AssertionError, error):
            whole = False
        # Fragments look like items; where no VR says what they are, they are one value.
        if whole or vr == "SQ":
            assert whole, here
            found.update(held)
            return
    found[here] = vr, in_order(value, vr) if form[1] == ">" else value


def _named(here):
    try:
        return dictionary_VR(here[-1]) == "SQ"
    except KeyError:
        return False


def _items(raw, at, end, here, form, found):
    number = 0
    while at < end:
        group, element, length = unpack_from(form[1] + "HHI", raw, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            return at
        assert (group, element) == (0xFFFE, 0xE000), (here, group, element)
        found[(*here, number)] = "item", b""
        stop = end if length == UNDEFINED else at + length
        at = _data_set(raw, at, stop, (*here, number), form, found)
        number += 1
    return at


def _fragments(raw, at, here, vr, order, found):
    held = b""
    while True:
        group, element, length = unpack_from(order + "HHI", raw, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            found[here] = vr, held
            return at
        held += pack("<HHI", group, element, length) + raw[at : at + length]
        at += length
