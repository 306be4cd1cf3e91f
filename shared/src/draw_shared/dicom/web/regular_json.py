"""Writes regular data sets in JSON quickly: little endian, tags ascending, no flaws.

Most elements of a series are the same in all objects, so that their text is looked up by their
bytes, and runs of them by the bytes of the whole run. What is looked up together has the same
context: whatever else of the data set decides what the bytes mean.

Whatever is not regular raises `Irregular`; then `object_json` writes the whole data set.
"""

import os
from array import array
from dataclasses import dataclass, field
from struct import Struct, error
from typing import Final

from draw_shared.dicom.encoding.characters import (
    DEFAULT_REPERTOIRE,
    CharacterSet,
    character_set,
)
from draw_shared.dicom.encoding.element_forms import (
    HEADER_BYTES,
    ITEM,
    ITEM_END,
    LONG_HEADER_BYTES,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    holds_fragments,
    seems_long,
)
from draw_shared.dicom.encoding.element_headers import MIN_LETTERS
from draw_shared.dicom.encoding.vrs import KNOWN_VRS, LONG_VRS, SHORT_VRS
from draw_shared.dicom.transcoding.representations import CREATORS, UNKNOWN, choose_vr, listed
from draw_shared.dicom.transcoding.structure import MAX_CREATOR_LENGTH, OTHER_VRS
from draw_shared.dicom.transcoding.survey import PIXEL_REPRESENTATION, WAVEFORM_BITS_ALLOCATED
from draw_shared.dicom.web.element_texts import (
    TAG_BYTES,
    ContextTexts,
    ElementRun,
    ElementTexts,
    ReadingContext,
)
from draw_shared.dicom.web.json_values import encode_value
from draw_shared.dicom.web.object_json import (
    MAX_FRAGMENTS,
    MAX_INLINE_BYTES,
    PLACED,
    SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    BulkValue,
    Found,
    encode_items,
    is_bulk,
    is_left_out,
    name_member,
    unknown_sequence,
)
from draw_shared.dicom.web.opened_file import (
    HEAD_BYTES,
    IMAGE_TAGS,
    OpenedFile,
    ValuePosition,
)

MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""Elements are read together as long as they are no more bytes than this."""
MAX_DEPTH: Final = 32
"""Deeper sequences are for the reader that does not recurse."""
MIN_RUN: Final = 3
"""Elements that are worth a run."""
FRAGMENT_HEADERS: Final = 4096
"""Bytes that are read at once while the headers of fragments are looked for."""

_EXPLICIT: Final = Struct("<HH2sH").unpack_from
_BARE: Final = Struct("<HHI").unpack_from
_LENGTH: Final = Struct("<I").unpack_from
_UNSIGNED: Final = Struct("<H").unpack_from
_ITEM: Final = b"\xfe\xff\x00\xe0"
_DECISIVE: Final = frozenset((PIXEL_REPRESENTATION, WAVEFORM_BITS_ALLOCATED))
_DESCRIBING: Final = IMAGE_TAGS - _DECISIVE


class Irregular(Exception):
    """The data set is not one that this module reads."""


@dataclass(slots=True)
class _RegularLevel:
    """A data set: the outermost or an item."""

    path: str
    characters: CharacterSet
    parent: "_RegularLevel | None" = None
    tag: int = -1
    """The element that is read."""
    creators: dict[int, str] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    depth: int = 0


class RegularReading:
    """Reads one object.

    Args:
        opened: its file.
        found: collects what is found.
        texts: what is remembered of the series.
    """

    def __init__(self, opened: OpenedFile, found: Found, texts: ElementTexts) -> None:
        if opened.deflated or opened.written.encoding.big or opened.written.leading:
            raise Irregular
        self._descriptor = opened.descriptor
        self._explicit = opened.written.encoding.explicit
        self._found = found
        self._texts = texts
        self._window = b""
        self._base = 0
        """Position of the window in the file."""
        self._place = 0
        """Position of the bytes whose items are read."""
        self._end = os.fstat(opened.descriptor).st_size
        self._level = _RegularLevel("", DEFAULT_REPERTOIRE)
        self._begun = False
        """Whether the character set has been passed: before, nothing is remembered."""
        self._known_texts = ContextTexts()

    def members(self, head: bytes, base: int, offset: int) -> list[bytes]:
        """Return the attributes of the data set that begins at `offset`, in ascending order.

        Args:
            head: a part of the file that has been read.
            base: its position.
            offset: position of the data set.

        Raises:
            Irregular: another reader must read it.
            Undecodable: there are too many elements, or they are too long.
            OSError: the file cannot be read.
        """
        self._window, self._base = head, base
        try:
            return self._outermost(offset - base)
        except (error, IndexError):
            raise Irregular from None

    def _outermost(  # noqa: C901, PLR0912, PLR0915 - fast: for every element of every object
        self, at: int
    ) -> list[bytes]:
        members: list[bytes] = []
        add, level, explicit = members.append, self._level, self._explicit
        values = self._found.image.values
        window, size = self._window, len(self._window)
        known = self._known_texts
        texts, runs = known.elements, known.runs
        before = written = 0
        # The run that is read: where it begins, its first tag, and how many elements it has.
        run_at = run_tag = run = 0
        is_open = False
        image: list[tuple[int, bytes]] = []
        while True:
            if (found := runs.get(window[at : at + TAG_BYTES])) is not None:
                end = at + len(found.raw)
                fits = found.first > before and window.startswith(found.raw, at)
                if fits and not (found.is_open and seems_long(window, end - HEADER_BYTES)):
                    if run:
                        texts_of_run = members[-run:]
                        self._end_run(texts_of_run, run_at, at, run_tag, before, is_open, image)
                        run = 0
                    add(found.text)
                    values.update(found.image)
                    written += len(found.text)
                    before, at = found.last, end
                    continue
            if at + LONG_HEADER_BYTES > size:
                if run:
                    texts_of_run = members[-run:]
                    self._end_run(texts_of_run, run_at, at, run_tag, before, is_open, image)
                    run = 0
                self._found.require_room(len(members), written)
                if self._base + at + HEADER_BYTES > self._end:
                    return members
                if self._base + size < self._end:
                    at = self._move(at, HEAD_BYTES)
                    window, size = self._window, len(self._window)
            if explicit:
                group, element, vr, length = _EXPLICIT(window, at)
                if vr in SHORT_VRS and (length or not seems_long(window, at)):
                    start = at + HEADER_BYTES
                elif vr in LONG_VRS and not length:
                    (length,) = _LENGTH(window, at + HEADER_BYTES)
                    start = at + LONG_HEADER_BYTES
                else:
                    raise Irregular
            else:
                group, element, length = _BARE(window, at)
                vr, start = b"", at + HEADER_BYTES
                if length >= MIN_LETTERS and window[at + 4 : at + 6] in KNOWN_VRS:
                    raise Irregular
            tag = group << 16 | element
            if tag <= before or group >= 0xFFFE:  # noqa: PLR2004 - delimiters
                raise Irregular
            stop = start + length
            if stop <= size:
                remembered = texts.get(window[at:stop])
                if remembered is not None:
                    if not run:
                        run_at, run_tag, image = at, tag, []
                    run += 1
                    add(remembered)
                    written += len(remembered)
                    if tag in _DESCRIBING:
                        values[tag] = window[start:stop]
                        image.append((tag, values[tag]))
                    at, before, is_open = stop, tag, explicit and not length
                    continue
            if run:
                texts_of_run = members[-run:]
                self._end_run(texts_of_run, run_at, at, run_tag, before, is_open, image)
                run = 0
            before = level.tag = tag
            counted = self._found.size
            at, text = self._further(tag, vr, at, start, length)
            # What an item contains counts with the text of its sequence.
            self._found.size = counted
            window, size = self._window, len(self._window)
            if self._known_texts is not known:
                known = self._known_texts
                texts, runs = known.elements, known.runs
            if text:
                add(text)
                written += len(text)

    def _end_run(
        self,
        texts: list[bytes],
        at: int,
        end: int,
        first: int,
        last: int,
        is_open: bool,  # noqa: FBT001 - fast
        image: list[tuple[int, bytes]],
    ) -> None:
        """Remember what was read one after the other."""
        if len(texts) >= MIN_RUN:
            raw, joined = self._window[at:end], b",".join(texts)
            run = ElementRun(raw, joined, first, last, is_open, tuple(image))
            self._texts.keep_run(self._known_texts, run)

    def _move(self, at: int, size: int) -> int:
        """Read the file from here on; return where the window then continues."""
        position = self._base + at
        self._window = os.pread(self._descriptor, max(size, HEAD_BYTES), position)
        self._base = position
        if len(self._window) < min(size, self._end - position):
            # Somebody has shortened it meanwhile.
            raise Irregular
        return 0

    def _further(self, tag: int, vr: bytes, at: int, start: int, length: int) -> tuple[int, bytes]:
        """Return where the next element begins, and the text of one that was not remembered."""
        level = self._level
        if not self._begun and tag >= SPECIFIC_CHARACTER_SET:
            self._begun = True
            self._change_context()
        known = self._known(vr, tag, level)
        if length == UNDEFINED:
            return self._undefined(tag, vr, known, at, start)
        position = self._base + start
        if position + length > self._end:
            raise Irregular
        if tag in PLACED:
            self._found.image.places[tag] = ValuePosition(position, length)
        if known != SEQUENCE and is_bulk(tag, known, length):
            return start + length, self._bulk(level, tag, known, position, length)
        size = start - at + length
        if at + size > len(self._window):
            if size > MAX_HELD_BYTES:
                raise Irregular
            start -= at
            at = self._move(at, size)
        stop = at + size
        self._place = self._base + at
        raw = self._window[at:stop]
        noted = self._note(tag, raw[start - at :])
        return stop, self._remembered(tag, vr, known, raw, start - at, noted=noted)

    def _note(self, tag: int, raw: bytes) -> bool:
        """Note what an element says for others; return whether that is so for each object."""
        if tag in IMAGE_TAGS:
            self._found.image.values[tag] = raw
        if self._learn(self._level, tag, raw):
            if self._begun:
                self._change_context()
            return True
        return tag in PLACED

    def _change_context(self) -> None:
        level = self._level
        context = ReadingContext(
            self._explicit,
            level.characters,
            tuple(level.creators.items()),
            tuple(level.numbers.items()),
        )
        self._known_texts = self._texts.of(context)

    def _remembered(
        self, tag: int, vr: bytes, known: bytes, raw: bytes, start: int, *, noted: bool
    ) -> bytes:
        """Return the text of an element, and remember it."""
        texts = self._known_texts
        key = (raw,) if noted else raw
        remembered = texts.elements.get(key) if noted else None
        if remembered is not None:
            return remembered
        bulk = len(self._found.bulk)
        text = self._text(self._level, tag, vr, known, raw, start, len(raw))
        if text and self._begun and len(self._found.bulk) == bulk:
            self._texts.keep(texts, key, text)
        return text

    # --- values ------------------------------------------------------------------------

    def _known(self, vr: bytes, tag: int, level: _RegularLevel) -> bytes:
        """Return the one VR that an element has."""
        if vr and vr != UNKNOWN:
            return vr
        words = listed(tag, level.creators)
        if b" or " not in words:
            return words if words in KNOWN_VRS else UNKNOWN
        signed = bool(self._number(level, PIXEL_REPRESENTATION)) if b"SS" in words else False
        bits = self._number(level, WAVEFORM_BITS_ALLOCATED) if tag >> 16 == _WAVEFORMS else 0
        return choose_vr(tag, words, signed=signed, waveform_bits=bits)

    def _number(self, level: _RegularLevel, tag: int) -> int:
        """Return a number of a data set or the nearest one around it, which must be passed."""
        around: _RegularLevel | None = level
        while around is not None:
            if around.tag <= tag:
                # It may still come.
                raise Irregular
            if tag in around.numbers:
                return around.numbers[tag]
            around = around.parent
        return 0

    def _bulk(self, level: _RegularLevel, tag: int, vr: bytes, position: int, length: int) -> bytes:
        path = f"{level.path}{tag:08X}"
        value = BulkValue(path, vr.decode("ascii"), position, length, encapsulated=False)
        return name_member(tag, self._found.add_bulk(value))

    def _text(
        self,
        level: _RegularLevel,
        tag: int,
        vr: bytes,
        known: bytes,
        data: bytes,
        start: int,
        stop: int,
    ) -> bytes:
        """Return the text of an element; nothing for one that is left out."""
        if is_left_out(tag):
            return b""
        if known == SEQUENCE:
            if vr != UNKNOWN:
                return name_member(tag, encode_items(self._items(level, tag, data, start, stop)))
            if stop - start > MAX_INLINE_BYTES:
                raise Irregular
            raw = data[start:stop]
            members = unknown_sequence(raw, level.characters) if raw else b'"vr":"SQ"'
            if members is None:
                # The other reader decides what becomes of it.
                raise Irregular
            return name_member(tag, members)
        raw = data[start:stop]
        if level.parent is not None:
            self._learn(level, tag, raw)
        return name_member(tag, encode_value(known, raw, level.characters))

    def _learn(self, level: _RegularLevel, tag: int, raw: bytes) -> bool:
        """Note what decides how other elements of the data set are read; return whether it does."""
        if tag >> 16 & 1:
            if tag & 0xFFFF not in CREATORS:
                return False
            if len(raw) <= MAX_CREATOR_LENGTH:
                level.creators[tag] = raw.decode("ascii", "replace").strip(" \0")
        elif tag == SPECIFIC_CHARACTER_SET:
            level.characters = character_set(raw)
        elif tag not in _DECISIVE:
            return False
        elif len(raw) > 1:
            level.numbers[tag] = _UNSIGNED(raw)[0]
        return True

    # --- sequences ---------------------------------------------------------------------

    def _undefined(
        self, tag: int, vr: bytes, known: bytes, at: int, start: int
    ) -> tuple[int, bytes]:
        """Return where a value of undefined length ends, and its text."""
        if tag == PIXEL_DATA or (known in OTHER_VRS and vr):
            return self._encapsulated(tag, vr or b"OB", start)
        if known != SEQUENCE or vr == UNKNOWN:
            raise Irregular
        last = self._known_texts.delimited.get(tag)
        if last is not None and self._window.startswith(last[0], at):
            return at + len(last[0]), last[1]
        bulk = len(self._found.bulk)
        items, at, start, stop = self._held_items(self._level, tag, at, start)
        text = name_member(tag, encode_items(items))
        if self._begun and len(self._found.bulk) == bulk:
            self._texts.keep_delimited(self._known_texts, tag, self._window[at:stop], text)
        return stop, text

    def _held_items(
        self, level: _RegularLevel, tag: int, at: int, start: int
    ) -> tuple[list[bytes], int, int, int]:
        """Return the items of a delimited sequence, read until its end is there.

        Returns:
            The items, and where the element, its value and what follows it begin.
        """
        found = self._found
        while True:
            elements, size, bulk = found.elements, found.size, len(found.bulk)
            self._place = self._base
            try:
                items, stop = self._delimited(level, tag, self._window, start)
            except (error, IndexError):
                held = len(self._window) - at
                left = self._end - self._base - at
                if held >= left or held > MAX_HELD_BYTES:
                    raise Irregular from None
                found.elements, found.size = elements, size
                del found.bulk[bulk:]
                start -= at
                at = self._move(at, min(4 * max(held, HEAD_BYTES), left))
            else:
                return items, at, start, stop

    def _items(
        self, level: _RegularLevel, tag: int, data: bytes, at: int, stop: int
    ) -> list[bytes]:
        """Return the items of a sequence of defined length."""
        items: list[bytes] = []
        while at < stop:
            group, element, _ = _BARE(data, at)
            if group << 16 | element != ITEM:
                raise Irregular
            at = self._item(level, tag, data, at, items)
        if at != stop:
            raise Irregular
        return items

    def _delimited(
        self, level: _RegularLevel, tag: int, data: bytes, at: int
    ) -> tuple[list[bytes], int]:
        """Return the items of a sequence of undefined length, and where it ends."""
        items: list[bytes] = []
        if holds_fragments(data[at : at + HEADER_BYTES + LONG_HEADER_BYTES]):
            raise Irregular
        while True:
            group, element, length = _BARE(data, at)
            met = group << 16 | element
            if met == SEQUENCE_END and not length:
                return items, at + HEADER_BYTES
            if met != ITEM:
                raise Irregular
            at = self._item(level, tag, data, at, items)

    def _item(
        self, around: _RegularLevel, tag: int, data: bytes, at: int, items: list[bytes]
    ) -> int:
        """Add the item at `at`; return where it ends."""
        (length,) = _LENGTH(data, at + 4)
        depth = around.depth + 1
        if depth > MAX_DEPTH:
            raise Irregular
        path = f"{around.path}{tag:08X}/{len(items)}/"
        level = _RegularLevel(path, around.characters, around, depth=depth)
        at += HEADER_BYTES
        stop = None if length == UNDEFINED else at + length
        if stop is not None and stop > len(data):
            raise IndexError(stop)
        self._found.count(2)
        members, at = self._data_set(level, data, at, stop)
        items.append(b"{" + b",".join(members) + b"}")
        return at

    def _data_set(  # noqa: C901, PLR0912, PLR0915 - fast: for every element of every item
        self, level: _RegularLevel, data: bytes, at: int, end: int | None
    ) -> tuple[list[bytes], int]:
        """Return the attributes of an item, and where it ends; `end` is None if it is delimited."""
        members: list[bytes] = []
        explicit, before = self._explicit, -1
        count = self._found.count
        while at != end:
            vr = b""
            if explicit:
                group, element, vr, length = _EXPLICIT(data, at)
                if vr in SHORT_VRS and (length or not seems_long(data, at)):
                    start = at + HEADER_BYTES
                elif vr in LONG_VRS and not length:
                    (length,) = _LENGTH(data, at + HEADER_BYTES)
                    start = at + LONG_HEADER_BYTES
                else:
                    if end is None and _BARE(data, at) == _ITEM_END:
                        return members, at + HEADER_BYTES
                    raise Irregular
            else:
                group, element, length = _BARE(data, at)
                start = at + HEADER_BYTES
                if length >= MIN_LETTERS and data[at + 4 : at + 6] in KNOWN_VRS:
                    raise Irregular
                if group >= 0xFFFE:  # noqa: PLR2004 - delimiters
                    if end is None and (group, element, length) == _ITEM_END:
                        return members, start
                    raise Irregular
            tag = group << 16 | element
            if tag <= before or group >= 0xFFFE:  # noqa: PLR2004 - delimiters
                raise Irregular
            before = level.tag = tag
            known = vr if vr and vr != UNKNOWN else self._known(vr, tag, level)
            if length == UNDEFINED:
                if known != SEQUENCE or vr == UNKNOWN or tag == PIXEL_DATA:
                    raise Irregular
                items, at = self._delimited(level, tag, data, start)
                text = name_member(tag, encode_items(items))
            else:
                at = start + length
                if at > len(data):
                    raise IndexError(at)
                if end is not None and at > end:
                    raise Irregular
                if known != SEQUENCE and is_bulk(tag, known, length):
                    text = self._bulk(level, tag, known, self._place + start, length)
                else:
                    text = self._text(level, tag, vr, known, data, start, at)
            if text:
                members.append(text)
                count(0 if known == SEQUENCE else len(text))
        return members, at

    # --- encapsulated values -----------------------------------------------------------

    def _encapsulated(self, tag: int, vr: bytes, start: int) -> tuple[int, bytes]:
        """Step over an encapsulated value; return where the next element begins, and the text."""
        position = self._base + start
        positions, lengths, after = self._fragments(position)
        length = positions[-1] + lengths[-1] - position if positions else 0
        if tag == PIXEL_DATA:
            self._found.image.fragments = positions, lengths
        if tag in PLACED:
            self._found.image.places[tag] = ValuePosition(position, length, encapsulated=True)
        value = BulkValue(f"{tag:08X}", vr.decode("ascii"), position, length, encapsulated=True)
        return after - self._base, name_member(tag, self._found.add_bulk(value))

    def _fragments(self, position: int) -> "tuple[array[int], array[int], int]":
        positions, lengths = array("Q"), array("Q")
        held, base = self._window, self._base
        while True:
            at = position - base
            if not 0 <= at <= len(held) - HEADER_BYTES:
                held, base, at = os.pread(self._descriptor, FRAGMENT_HEADERS, position), position, 0
            group, element, length = _BARE(held, at)
            tag = group << 16 | element
            position += HEADER_BYTES
            if tag == SEQUENCE_END:
                return positions, lengths, position
            if tag != ITEM or position + length > self._end or len(positions) >= MAX_FRAGMENTS:
                raise Irregular
            positions.append(position)
            lengths.append(length)
            position += length


_WAVEFORMS: Final = 0x5400
_ITEM_END: Final = (ITEM_END >> 16, ITEM_END & 0xFFFF, 0)
