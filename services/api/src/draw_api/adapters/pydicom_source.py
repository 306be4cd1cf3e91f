"""Makes stored files readable for pydicom.

If a data set contains elements of group 0002, pydicom takes them for the file meta group, including
the transfer syntax; other flaws, which the index reads past, make it stop or fail. Such a file is
rewritten for pydicom: in its real encoding, each element once and in order, and disordered
sequences as bytes without structure.
"""

import io
import mmap
from pathlib import Path
from struct import pack
from typing import BinaryIO, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.data_set import OpenedDataSet, gather, open_data_set
from draw_shared.dicom.encoding.element_forms import PIXEL_DATA, UNDEFINED
from draw_shared.dicom.encoding.scan import Scanner
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.encoding.vrs import KNOWN_VRS, LONG_VRS
from draw_shared.dicom.encoding.walk import Span, Undecodable

UNKNOWN: Final = b"UN"
MAX_SHORT_LENGTH: Final = 0xFFFF
PLAIN: Final = frozenset((DEFLATED_LITTLE, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE))


def source(path: str) -> str | BinaryIO:
    """Return the input for pydicom: the file's path, or the repaired file."""
    with (
        Path(path).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held,
    ):
        try:
            meta, offset = part10.decode(held[: part10.MAX_META_BYTES])
        except Undecodable:
            return path
        with memoryview(held) as view, view[offset:] as data:
            _, found = gather(data, meta.transfer_syntax_uid, frozenset(), last=PIXEL_DATA - 1)
            if not found.flaws:
                return path
            return io.BytesIO(_repair(data, meta))


def _repair(data: memoryview, meta: part10.FileMeta) -> bytes:
    """Return the file as it would be without flaws."""
    try:
        held = open_data_set(data, meta.transfer_syntax_uid)
    except Undecodable:
        return meta.encode()
    elements: dict[int, bytes] = {}
    encapsulated = meta.transfer_syntax_uid not in PLAIN
    try:
        for span in held.scanner.spans(held.data):
            if span.tag == PIXEL_DATA and span.stop == span.after:
                encapsulated = False
            # The first of two, as in the index.
            elements.setdefault(span.tag, _encode(span, held))
    except Undecodable:
        # Show what could be read so far.
        pass
    true = meta.transfer_syntax_uid if encapsulated else _plain_syntax(held.scanner)
    body = b"".join(raw for _, raw in sorted(elements.items()))
    return meta._replace(transfer_syntax_uid=true).encode() + body


def _encode(span: Span, held: OpenedDataSet) -> bytes:
    scanner = held.scanner
    order = ">" if scanner.big_endian else "<"
    tag = pack(f"{order}HH", span.tag >> 16, span.tag & 0xFFFF)
    delimited = span.stop != span.after and not span.flawed
    value = bytes(held.data[span.start : span.after if delimited else span.stop])
    length = UNDEFINED if delimited else len(value)
    if not scanner.explicit:
        return tag + pack("<I", length) + value
    vr = _vr(span, length)
    if vr in LONG_VRS:
        return tag + vr + pack(f"{order}HI", 0, length) + value
    return tag + vr + pack(f"{order}H", length) + value


def _vr(span: Span, length: int) -> bytes:
    vr = span.vr
    if vr not in KNOWN_VRS:
        vr = dictionary_VR(span.tag)[:2].encode() if dictionary_has_tag(span.tag) else UNKNOWN
    if span.flawed and (vr == b"SQ" or span.stop != span.after):
        return UNKNOWN
    return UNKNOWN if length > MAX_SHORT_LENGTH and vr not in LONG_VRS else vr


def _plain_syntax(scanner: Scanner) -> str:
    if scanner.big_endian:
        return EXPLICIT_BIG
    return EXPLICIT_LITTLE if scanner.explicit else IMPLICIT_LITTLE
