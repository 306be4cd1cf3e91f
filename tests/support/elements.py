"""Data sets written element by element, with exactly the bytes that a test wants."""

import struct
import zlib

from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from support.data_set_tree import FORMS_OF_32_BITS, in_order

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def element(tag, vr, value, syntax=EXPLICIT_LITTLE, *, length=None):
    """Return one element; `value` is in little endian, `length` another than it has."""
    if isinstance(value, str):
        value = value.encode()
    group, number = tag >> 16, tag & 0xFFFF
    length = len(value) if length is None else length
    if syntax == IMPLICIT_LITTLE:
        return struct.pack("<HHI", group, number, length) + value
    order = ">" if syntax == EXPLICIT_BIG else "<"
    if syntax == EXPLICIT_BIG:
        value = in_order(value, vr)
    if vr in FORMS_OF_32_BITS:
        return struct.pack(order + "HH2sHI", group, number, vr.encode(), 0, length) + value
    return struct.pack(order + "HH2sH", group, number, vr.encode(), length) + value


def mark(tag, length=0, syntax=EXPLICIT_LITTLE):
    """Return the tag and length of an item or a delimiter."""
    order = ">" if syntax == EXPLICIT_BIG else "<"
    return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, length)


def sequence(tag, items, syntax=EXPLICIT_LITTLE, *, delimited=False, vr="SQ"):
    """Return a sequence of encoded items, with lengths or with delimiters."""
    body = b"".join(item(one, syntax, delimited=delimited) for one in items)
    if not delimited:
        return _sequence_header(tag, vr, len(body), syntax) + body
    return _sequence_header(tag, vr, UNDEFINED, syntax) + body + mark(SEQUENCE_END, 0, syntax)


def _sequence_header(tag, vr, length, syntax):
    return element(tag, vr, b"", syntax, length=length)


def item(content, syntax=EXPLICIT_LITTLE, *, delimited=False):
    """Return an item."""
    if not delimited:
        return mark(ITEM, len(content), syntax) + content
    return mark(ITEM, UNDEFINED, syntax) + content + mark(ITEM_END, 0, syntax)


def encapsulated(fragments, tag=0x7FE00010, vr="OB", table=b""):
    """Return an encapsulated value, little endian, with its basic offset table."""
    body = b"".join(item(one) for one in (table, *fragments))
    header = element(tag, vr, b"", length=UNDEFINED)
    return header + body + mark(SEQUENCE_END)


def write(path, body, syntax=EXPLICIT_LITTLE):
    """Write a Part 10 file with this data set and return its path."""
    if syntax == DEFLATED_LITTLE:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
    path.write_bytes(FileMeta(SECONDARY_CAPTURE, "1.2.3.4", syntax).encode() + body)
    return path
