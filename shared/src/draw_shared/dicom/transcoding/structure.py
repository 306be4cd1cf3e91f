"""Walks the structure of a data set: its elements, sequences and items, in order.

It tolerates every violation of PS3.5 that leaves the structure clear: elements in another form than
their data set, unknown VRs, missing and stray delimiters. Anything else is Untranscodable. The
depth is bounded, and only the creators of private blocks are kept in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from draw_shared.dicom.encoding.data_set import leading_form
from draw_shared.dicom.encoding.element_forms import (
    DELIMITERS,
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    ElementForms,
    holds_fragments,
    is_regular,
)
from draw_shared.dicom.encoding.item_ends import LOOKAHEAD_BYTES, ends_item_around
from draw_shared.dicom.encoding.vrs import KNOWN_VRS, SHORT_VRS
from draw_shared.dicom.transcoding.encoding import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    AsWritten,
    ElementEncoding,
)
from draw_shared.dicom.transcoding.representations import CREATORS, UNKNOWN, listed
from draw_shared.dicom.transcoding.source import BLOCK_BYTES, DataSetSource, Untranscodable
from draw_shared.wording import message

MAX_DEPTH: Final = 128
MAX_CREATOR_LENGTH: Final = 64
BARE_BYTES: Final = 8
LONG_BYTES: Final = 12
OTHER_VRS: Final = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW"))
FORMS: Final = {
    encoding: ElementForms(explicit=encoding.explicit, big_endian=encoding.big)
    for encoding in (IMPLICIT, EXPLICIT, BIG)
}


class StructureEvent(Enum):
    """The kind of thing that was met."""

    VALUE = "an element with its value"
    SEQUENCE = "the beginning of a sequence"
    ITEM = "the beginning of an item"
    ITEM_END = "the end of an item"
    SEQUENCE_END = "the end of a sequence"
    FRAGMENTS = "the beginning of an encapsulated value"
    FRAGMENT = "an item of an encapsulated value"
    FRAGMENTS_END = "the end of an encapsulated value"
    STRAY = "a delimiter that ends nothing"


@dataclass(slots=True, eq=False)
class NestingLevel:
    """A data set (the outermost or an item) or a sequence.

    `opaque` is true inside an unknown sequence of undefined length: implicit VR little endian,
    whatever surrounds it (PS3.5 6.2.2, note 2).
    """

    start: int
    """Position in the outermost data set; unique among data sets."""
    encoding: ElementEncoding
    end: int | None
    bound: int | None
    """Position where it must have ended."""
    parent: "NestingLevel | None" = None
    opaque: bool = False
    items: bool = False
    """Whether it is a sequence."""
    creators: dict[int, str] = field(default_factory=dict)
    size: int = 0
    """Bytes written for it, for the code that measures."""
    sized: bool = True
    """Whether `size` is known."""


class Met(NamedTuple):
    """One thing that was met; the source is at the beginning of its value."""

    kind: StructureEvent
    level: NestingLevel
    """The data set or sequence it belongs to; for an item, its own data set."""
    tag: int = 0
    vr: bytes = b""
    """As written if it is known, else from the dictionary, which may list several."""
    length: int = 0
    """Length of the value, bytes; UNDEFINED if delimited."""
    regular: bool = True
    """Whether it has its encoding's form, and its delimiter if it needs one."""


class _Header(NamedTuple):
    tag: int
    vr: bytes
    length: int
    start: int
    """Position of the value in the outermost data set."""
    regular: bool


def walk_structure(source: DataSetSource, written: AsWritten) -> Iterator[Met]:
    """Yield everything in a data set, in order.

    A consumer that wants a value must read it from the source before the next step.

    Raises:
        Untranscodable: the rest is no data set.
    """
    return _StructureWalk(source, written).all()


class _StructureWalk:
    """One walk through a data set."""

    def __init__(self, source: DataSetSource, written: AsWritten) -> None:
        self._source = source
        self._written = written
        first = written.leading_encoding if written.leading else written.encoding
        self._stack = [NestingLevel(0, first, source.size, source.size)]

    def all(self) -> Iterator[Met]:
        while self._stack:
            level = self._stack[-1]
            if level.bound is not None and self._source.position >= level.bound:
                yield from self._leave()
            elif level.items:
                yield from self._item(level)
            else:
                yield from self._element(level)

    def _leave(self, *, delimited: bool = False) -> Iterator[Met]:
        """Leave the innermost level."""
        level = self._stack.pop()
        if level.parent is not None:
            kind = StructureEvent.SEQUENCE_END if level.items else StructureEvent.ITEM_END
            yield Met(kind, level, regular=delimited or level.end is not None)

    def _enter(
        self, parent: NestingLevel, encoding: ElementEncoding, length: int, *, items: bool
    ) -> NestingLevel:
        start = self._source.position
        end = None if length == UNDEFINED else start + length
        if end is not None and parent.bound is not None and end > parent.bound:
            raise Untranscodable(message("an item is longer than what it lies in"))
        if len(self._stack) > 2 * MAX_DEPTH:
            raise Untranscodable(message("sequences are nested too deeply"))
        bound = parent.bound if end is None else end
        level = NestingLevel(start, encoding, end, bound, parent, parent.opaque, items)
        self._stack.append(level)
        return level

    # --- items -------------------------------------------------------------------------

    def _item(self, level: NestingLevel) -> Iterator[Met]:
        head = self._source.ahead(BARE_BYTES)
        if len(head) < BARE_BYTES:
            yield from self._leave()
            return
        group, element, length = level.encoding.bare.unpack(head)
        tag = group << 16 | element
        if tag == ITEM:
            self._source.skip_to(self._source.position + BARE_BYTES)
            inner = self._enter(level, level.encoding, length, items=False)
            yield Met(StructureEvent.ITEM, inner, tag, length=length)
        elif tag == ITEM_END and not self._ends_around(level):
            self._source.skip_to(self._source.position + BARE_BYTES)
            yield Met(StructureEvent.STRAY, level, regular=False)
        elif tag == SEQUENCE_END and level.end is None:
            self._source.skip_to(self._source.position + BARE_BYTES)
            yield from self._leave(delimited=True)
        elif level.end is None:
            # Its delimiter is missing: what follows belongs to the surrounding data set.
            yield from self._leave()
        else:
            raise Untranscodable(message("a sequence holds something else than items"))

    def _ends_around(self, level: NestingLevel) -> bool:
        """Return whether the item end here, outside every item, ends the surrounding item."""
        open_items, inner = 0, level
        while inner.end is None and inner.parent is not None:
            open_items += not inner.items
            inner = inner.parent
        ahead, _ = self._ahead(level, BARE_BYTES + LOOKAHEAD_BYTES)
        return ends_item_around(ahead[BARE_BYTES:], open_items, big_endian=level.encoding.big)

    # --- elements ----------------------------------------------------------------------

    def _element(self, level: NestingLevel) -> Iterator[Met]:
        source = self._source
        if level.parent is None and source.position >= self._written.leading:
            level.encoding = self._written.encoding
        head = source.ahead(LONG_BYTES)
        if len(head) < BARE_BYTES:
            # Less than an element: nothing to convert.
            source.skip_to(source.position + len(head))
            yield from self._leave()
        elif head[:2] in _DELIMITER_GROUPS and self._delimits(level, head):
            yield from self._delimiter(level, head)
        elif level.parent is None and not any(head):
            self._only_padding()
            yield from self._leave()
        else:
            yield from self._read(level, head)

    def _read(self, level: NestingLevel, head: bytes) -> Iterator[Met]:
        source = self._source
        header = self._header(level, head)
        tag, vr, length, start, regular = header
        source.skip_to(start)
        if vr not in KNOWN_VRS:
            vr = listed(tag, level.creators)
        if length == UNDEFINED or vr == b"SQ":
            met = self._enter_nested(level, header, vr)
            if met is not None:
                yield met
                if met.kind is StructureEvent.FRAGMENTS:
                    yield from self._fragments(level)
                return
        if level.bound is not None and start + length > level.bound:
            raise Untranscodable(message("an element is longer than what it lies in"))
        if tag >> 16 & 1 and (tag & 0xFFFF) in CREATORS and length <= MAX_CREATOR_LENGTH:
            level.creators[tag] = source.ahead(length).decode("ascii", "replace").strip(" \0")
        # A value of VR SQ that gets here contains no items.
        yield Met(StructureEvent.VALUE, level, tag, UNKNOWN if vr == b"SQ" else vr, length, regular)
        source.skip_to(start + length)

    def _delimits(self, level: NestingLevel, head: bytes) -> bool:
        return bool(level.encoding.tag.unpack_from(head)[0] == DELIMITERS)

    def _delimiter(self, level: NestingLevel, head: bytes) -> Iterator[Met]:
        group, element, _ = level.encoding.bare.unpack_from(head)
        tag = group << 16 | element
        inner = level.parent is not None and level.end is None
        if inner and tag != ITEM_END:
            # Its own delimiter is missing.
            yield from self._leave()
            return
        if tag not in {ITEM_END, SEQUENCE_END}:
            raise Untranscodable(message("an item lies outside of a sequence"))
        self._source.skip_to(self._source.position + BARE_BYTES)
        if inner:
            yield from self._leave(delimited=True)
        else:
            yield Met(StructureEvent.STRAY, level, regular=False)

    def _only_padding(self) -> None:
        """Pass NULs after the data set."""
        while block := self._source.ahead(BLOCK_BYTES):
            if any(block):
                raise Untranscodable(message("what follows is no data set"))
            self._source.skip_to(self._source.position + len(block))

    def _enter_nested(self, level: NestingLevel, header: _Header, vr: bytes) -> Met | None:
        """Enter a sequence or an encapsulated value; None means a plain value."""
        tag, written, length, _, regular = header
        encoding = self._inside(level.encoding if regular or written else IMPLICIT)
        if length != UNDEFINED:
            if level.opaque or (length and not self._at_item(encoding)):
                return None
            if not length and self._goes_on(level):
                length, regular = UNDEFINED, False
        elif vr in OTHER_VRS or b" or " in vr or tag == PIXEL_DATA:
            return Met(StructureEvent.FRAGMENTS, level, tag, vr, length, regular)
        elif written != b"SQ" and holds_fragments(self._ahead(level, _AHEAD[0])[0]):
            return Met(StructureEvent.FRAGMENTS, level, tag, b"OB", length, regular=False)
        elif written in KNOWN_VRS and written not in _SEQUENCE_VRS:
            raise Untranscodable(message("a value that is no sequence has no length"))
        opaque = written == UNKNOWN and length == UNDEFINED and not self._explicit_items()
        inner = self._enter(level, IMPLICIT if opaque else encoding, length, items=True)
        inner.opaque = level.opaque or opaque
        return Met(
            StructureEvent.SEQUENCE, inner, tag, UNKNOWN if opaque else b"SQ", length, regular
        )

    def _inside(self, encoding: ElementEncoding) -> ElementEncoding:
        """Return the encoding of the items that follow; they may have the other byte order."""
        other = EXPLICIT if encoding.big else BIG
        return other if self._source.ahead(4) == _ITEMS[other] else encoding

    def _goes_on(self, level: NestingLevel) -> bool:
        """Return whether an item follows that would be outside every sequence."""
        alone = level.parent is None or level.end is not None
        return alone and self._source.ahead(4) == _ITEMS[level.encoding]

    def _at_item(self, encoding: ElementEncoding) -> bool:
        head = self._source.ahead(encoding.tag.size)
        if len(head) < encoding.tag.size:
            return False
        group, element = encoding.tag.unpack(head)
        return bool(group << 16 | element in _SEQUENCE_TAGS)

    def _explicit_items(self) -> bool:
        """Return whether an unknown sequence contains VRs, which it must not."""
        head = self._source.ahead(BARE_BYTES + BARE_BYTES)
        return head[BARE_BYTES + 4 : BARE_BYTES + 6] in KNOWN_VRS

    def _fragments(self, level: NestingLevel) -> Iterator[Met]:
        source, delimited = self._source, True
        while True:
            head = source.ahead(BARE_BYTES)
            if len(head) < BARE_BYTES or source.position == level.bound:
                delimited = False
                break
            group, element, length = level.encoding.bare.unpack(head)
            tag = group << 16 | element
            start = source.position + BARE_BYTES
            if tag == SEQUENCE_END:
                source.skip_to(start)
                break
            if tag == ITEM_END and not self._ends_around(level):
                source.skip_to(start)
                yield Met(StructureEvent.STRAY, level, regular=False)
                continue
            if tag == ITEM_END or tag >> 16 != DELIMITERS:
                # Their delimiter is missing.
                delimited = False
                break
            if tag != ITEM or length == UNDEFINED:
                raise Untranscodable(
                    message("an encapsulated value holds something else than fragments")
                )
            if level.bound is not None and start + length > level.bound:
                raise Untranscodable(message("a fragment is longer than what it lies in"))
            source.skip_to(start)
            yield Met(StructureEvent.FRAGMENT, level, tag, length=length)
            source.skip_to(start + length)
        yield Met(StructureEvent.FRAGMENTS_END, level, regular=delimited)

    # --- headers -----------------------------------------------------------------------

    def _header(self, level: NestingLevel, head: bytes) -> _Header:
        encoding, start = level.encoding, self._source.position
        vr = head[4:6]
        if not is_regular(head, 0, explicit=encoding.explicit):
            if level.parent is None and start < self._written.leading:
                return self._leading_header(level, head)
            return self._odd_header(level)
        if not encoding.explicit:
            group, element, length = encoding.bare.unpack_from(head)
            return _Header(group << 16 | element, b"", length, start + BARE_BYTES, regular=True)
        if vr in SHORT_VRS:
            group, element, _, length = encoding.short.unpack_from(head)
            return _Header(group << 16 | element, vr, length, start + BARE_BYTES, regular=True)
        if len(head) < LONG_BYTES:
            raise Untranscodable(message("an element header is cut short"))
        group, element, _, length = encoding.long.unpack(head)
        return _Header(group << 16 | element, vr, length, start + LONG_BYTES, regular=True)

    def _leading_header(self, level: NestingLevel, head: bytes) -> _Header:
        """Return the header of an element left over in front of the data set."""
        form = leading_form(head, "big" if level.encoding.big else "little")
        group, element = level.encoding.tag.unpack_from(head)
        vr, start = head[4:6] if form.explicit else b"", self._source.position + form.start
        return _Header(group << 16 | element, vr, form.length, start, regular=False)

    def _odd_header(self, level: NestingLevel) -> _Header:
        """Return the header of an element without its encoding's form."""
        start, encoding = self._source.position, level.encoding
        for size in _AHEAD:
            ahead, end = self._ahead(level, size)
            try:
                form = FORMS[encoding].of(ahead, 0, end=end, far=size == _AHEAD[-1])
            except IndexError:
                continue
            if form is None:
                break
            group, element = encoding.tag.unpack_from(ahead)
            vr = ahead[4:6] if form.explicit else b""
            return _Header(
                group << 16 | element, vr, form.length, start + form.start, regular=False
            )
        raise Untranscodable(message("an element header cannot be read"))

    def _ahead(self, level: NestingLevel, size: int) -> tuple[bytes, int | None]:
        """Return at most `size` bytes, and how many bytes after the first remain in the level."""
        ahead = self._source.ahead(size)
        end = None if level.bound is None else level.bound - self._source.position
        if len(ahead) < size:
            end = len(ahead) if end is None else min(end, len(ahead))
        return ahead if end is None else ahead[:end], end


_SEQUENCE_VRS: Final = frozenset((b"SQ", UNKNOWN))
_DELIMITER_GROUPS: Final = frozenset((b"\xfe\xff", b"\xff\xfe"))
_SEQUENCE_TAGS: Final = frozenset((ITEM, SEQUENCE_END))
_ITEMS: Final = {
    encoding: encoding.tag.pack(ITEM >> 16, ITEM & 0xFFFF) for encoding in (IMPLICIT, EXPLICIT, BIG)
}
_AHEAD: Final = (1024, BLOCK_BYTES)
"""Bytes that are read to determine the form of an element: first a few, then a block."""
