"""Encodes identifiers of C-FIND responses as bytes, without a data set in between (PS3.5 7.1).

For one query everything but the values is constant, so the bytes between the values are encoded
once, and an answer of plain ASCII is joined from the column values as they come. Other values are
encoded in the requester's character set if it can hold the whole answer, otherwise in UTF-8.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Final

from draw_shared.dicom.encoding.characters import TEXT_VRS, UNICODE, CharacterSet
from draw_shared.dicom.encoding.uids import EXPLICIT_BIG, IMPLICIT_LITTLE
from draw_shared.dicom.encoding.vrs import LONG_VRS
from draw_shared.dicom.query.keys import IndexedAttribute
from draw_shared.dicom.query.query import (
    QUERY_RETRIEVE_LEVEL,
    SPECIFIC_CHARACTER_SET,
    Asked,
    Constant,
    FindQuery,
    Row,
)

MAX_SHORT_LENGTH: Final = 65534
PREPARED_LENGTHS: Final = 1024
MAX_US: Final = 0xFFFF
FAILED_UIDS: Final = 0x00080058
_ITEM: Final = 0xFFFEE000


class ElementWriter:
    """Encodes elements in one of the three uncompressed transfer syntaxes."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        order = ">" if transfer_syntax_uid == EXPLICIT_BIG else "<"
        self._explicit = transfer_syntax_uid != IMPLICIT_LITTLE
        self._tag = Struct(f"{order}HH")
        self._short = Struct(f"{order}H")
        self._long = Struct(f"{order}I")
        self.short_lengths = [self._short.pack(n) for n in range(PREPARED_LENGTHS)]
        self.long_lengths = [self._long.pack(n) for n in range(PREPARED_LENGTHS)]

    def head(self, tag: int, vr: str) -> bytes:
        """Return an element up to its length."""
        raw = self._tag.pack(tag >> 16, tag & 0xFFFF)
        if not self._explicit:
            return raw
        code = vr.encode("ascii")
        return raw + code + (b"\0\0" if code in LONG_VRS else b"")

    def is_long(self, vr: str) -> bool:
        """Return whether the length of this VR takes four bytes."""
        return not self._explicit or vr.encode("ascii") in LONG_VRS

    def length(self, size: int, vr: str) -> bytes:
        """Return an encoded length."""
        return self._long.pack(size) if self.is_long(vr) else self._short.pack(size)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """Return a whole element; a value too long for its VR becomes UN (PS3.5 6.2.2)."""
        if len(value) % 2:
            value += padding(vr)
        if len(value) > MAX_SHORT_LENGTH and not self.is_long(vr):
            vr = "UN"
        return self.head(tag, vr) + self.length(len(value), vr) + value

    def item(self, elements: bytes) -> bytes:
        """Return one item of a sequence."""
        return (
            self._tag.pack(_ITEM >> 16, _ITEM & 0xFFFF) + self._long.pack(len(elements)) + elements
        )

    def numbers(self, text: bytes) -> bytes:
        """Return US values given as text; text that is no such number is omitted."""
        found = (part for part in text.split(b"\\") if part.isdigit() and int(part) <= MAX_US)
        return b"".join(self._short.pack(int(part)) for part in found)


def padding(vr: str) -> bytes:
    """Return the byte that pads a value of this VR to even length (PS3.5 6.2)."""
    return b"\0" if vr in {"UI", "OB", "UN"} else b" "


def encode_failed_list(sop_instance_uids: Sequence[str], transfer_syntax_uid: str) -> bytes:
    """Return an identifier with the Failed SOP Instance UID List; no bytes if none failed."""
    if not sop_instance_uids:
        return b""
    value = "\\".join(sop_instance_uids).encode("ascii", "replace")
    return ElementWriter(transfer_syntax_uid).element(FAILED_UIDS, "UI", value)


class Answers:
    """Encodes the answers to one query.

    Args:
        constants: the values of `Constant` elements.
    """

    def __init__(
        self, query: FindQuery, transfer_syntax_uid: str, constants: Mapping[Constant, bytes]
    ) -> None:
        self._encoding = encoding = ElementWriter(transfer_syntax_uid)
        self._characters = query.characters
        self._positions = {source: n for n, source in enumerate(query.columns)}
        self._numbers: list[int] = []
        self._texts: list[tuple[int, str]] = []
        self._sequences: list[tuple[int, Asked]] = []
        self._plan: list[tuple[bytes, int, bytes, list[bytes], str]] = []
        level = Asked(QUERY_RETRIEVE_LEVEL, "CS")
        fixed = {QUERY_RETRIEVE_LEVEL: query.level.name.encode()}
        fixed |= {constant.value: constants[constant] for constant in constants}
        before = b""
        for one in sorted([*query.asked, level], key=lambda asked: asked.tag):
            if isinstance(one.source, IndexedAttribute):
                self._add_column(before, one, self._positions[one.source])
                before = b""
            else:
                before += encoding.element(one.tag, one.vr, fixed.get(one.tag, b""))
        self._tail = before

    def _add_column(self, before: bytes, one: Asked, position: int) -> None:
        encoding = self._encoding
        lengths = encoding.long_lengths if encoding.is_long(one.vr) else encoding.short_lengths
        head = before + encoding.head(one.tag, one.vr)
        self._plan.append((head, position, padding(one.vr), lengths, one.vr))
        if one.vr == "SQ":
            self._sequences.append((position, one))
        elif one.vr == "US":
            self._numbers.append(position)
        else:
            self._texts.append((position, one.vr))

    def encode(self, row: Row) -> bytes:
        """Return the identifier of one match."""
        values = [value or b"" for value in row]
        for position in self._numbers:
            values[position] = self._encoding.numbers(values[position])
        texts = [values[position] for position, _ in self._texts]
        if not self._sequences and b"".join(texts).isascii():
            return self._join(values)
        return self._encode_text(values)

    def _join(self, values: list[bytes]) -> bytes:
        parts: list[bytes] = []
        for head, position, pad, lengths, vr in self._plan:
            value = values[position]
            size = len(value)
            if size & 1:
                value += pad
                size += 1
            if size >= PREPARED_LENGTHS:
                if size > MAX_SHORT_LENGTH and not self._encoding.is_long(vr):
                    value = value[:MAX_SHORT_LENGTH]
                    size = MAX_SHORT_LENGTH
                parts += (head, self._encoding.length(size, vr), value)
            else:
                parts += (head, lengths[size], value)
        parts.append(self._tail)
        return b"".join(parts)

    def _encode_text(self, values: list[bytes]) -> bytes:
        """Return an identifier beyond ASCII, in the first character set that can hold it."""
        plain = CharacterSet()
        for characters in (plain, self._characters):
            try:
                return self._encode_in(values, characters)
            except _NotHeld:
                continue
        return self._encode_in(values, UNICODE)

    def _encode_in(self, values: list[bytes], characters: CharacterSet) -> bytes:
        def written(text: str, vr: str) -> bytes:
            if vr not in TEXT_VRS:
                return text.encode("ascii", "replace")
            raw = characters.encode(text, vr)
            if raw is None:
                raise _NotHeld
            return raw

        changed = list(values)
        for position, vr in self._texts:
            changed[position] = written(values[position].decode("utf-8"), vr)
        for position, one in self._sequences:
            changed[position] = self._items(values[position], one, written)
        body = self._join(changed)
        if not characters.terms:
            return body
        terms = "\\".join(characters.terms).encode("ascii")
        return self._encoding.element(SPECIFIC_CHARACTER_SET, "CS", terms) + body

    def _items(self, document: bytes, one: Asked, written: Callable[[str, str], bytes]) -> bytes:
        """Return the items of Request Attributes Sequence from the document in the index."""
        out = b""
        for held in json.loads(document or b"[]"):
            elements = b""
            for part in one.items:
                source = part.source
                keyword = source.keyword if isinstance(source, IndexedAttribute) else ""
                value = written(str(held.get(keyword, "")), part.vr)
                elements += self._encoding.element(part.tag, part.vr, value)
            out += self._encoding.item(elements)
        return out


class _NotHeld(Exception):
    """The character set cannot encode a value."""
