"""Writes a data set in JSON, whatever its encoding and its flaws, while it is read once or twice.

It stands on the walk of the transcoder, so that both see the same elements. It takes about ten
microseconds an element; `regular_json` is quicker for what most files are.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from typing_extensions import override

from draw_shared.dicom.encoding.characters import (
    DEFAULT_REPERTOIRE,
    CharacterSet,
    character_set,
)
from draw_shared.dicom.encoding.element_forms import ITEM_BYTES, PIXEL_DATA
from draw_shared.dicom.encoding.element_headers import MAX_ELEMENTS
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.transcoding.encoding import IMPLICIT, AsWritten
from draw_shared.dicom.transcoding.representations import UNKNOWN, choose_vr, listed
from draw_shared.dicom.transcoding.source import DataSetSource, Untranscodable
from draw_shared.dicom.transcoding.structure import (
    Met,
    NestingLevel,
    StructureEvent,
    walk_structure,
)
from draw_shared.dicom.transcoding.survey import PIXEL_REPRESENTATION, WAVEFORM_BITS_ALLOCATED
from draw_shared.dicom.web.json_values import BINARY_VRS, encode_bulk, encode_value
from draw_shared.dicom.web.opened_file import (
    EXTENDED_LENGTHS,
    EXTENDED_OFFSETS,
    IMAGE_TAGS,
    PIXEL_VALUES,
    StoredImage,
    ValuePosition,
)
from draw_shared.wording import message

MAX_INLINE_BINARY_BYTES: Final = 1024
"""Longer binary values become bulk data."""
MAX_INLINE_BYTES: Final = 4 * 1024 * 1024
"""Longer values of any other VR become bulk data too."""
MAX_JSON_BYTES: Final = 64 * 1024 * 1024
"""Largest document of one object."""
MAX_UNKNOWN_DEPTH: Final = 16
"""Sequences of VR UN within each other that are read; what lies deeper stays UN."""
MAX_FRAGMENTS: Final = 2_000_000
MAX_NOTED_LEVELS: Final = 100_000
SPECIFIC_CHARACTER_SET: Final = 0x00080005
FOREIGN_GROUPS: Final = frozenset((0x0000, 0x0002))
SEQUENCE: Final = b"SQ"
HEADER: Final = Struct("<HHI")

BulkUri = Callable[[str], str]
"""Returns the URI of a bulk value by its path, as `7FE00010` or `00400555/0/00401234`."""


class BulkValue(NamedTuple):
    """One value that is bulk data."""

    path: str
    vr: str
    position: int
    """In the file, or in the inflated data set."""
    length: int
    """Bytes; of an encapsulated value, up to the end of its last fragment."""
    encapsulated: bool
    """Whether it consists of fragments."""
    big: bool = False
    """Whether its numbers are in big endian, which bulk data never are (PS3.18 8.7.3.2)."""


@dataclass(slots=True)
class Found:
    """What has been written so far about one object."""

    uri: BulkUri
    image: StoredImage
    bulk: list[BulkValue] = field(default_factory=list)
    complete: bool = True
    elements: int = 0
    size: int = 0

    def count(self, size: int) -> None:
        """Count an element of `size` bytes.

        Raises:
            Undecodable: there are too many, or their document is too long.
        """
        self.elements += 1
        self.size += size
        self.require_room(0, 0)

    def require_room(self, elements: int, size: int) -> None:
        """Return if so many more elements, of `size` bytes together, may be counted.

        Raises:
            Undecodable: there are too many, or their document is too long.
        """
        if self.elements + elements > MAX_ELEMENTS:
            raise Undecodable(message("too many elements"))
        if self.size + size > MAX_JSON_BYTES:
            raise Undecodable(message("the metadata of one object are too long"))

    def add_bulk(self, value: BulkValue) -> bytes:
        """Record a bulk value and return its members."""
        self.bulk.append(value)
        return encode_bulk(value.vr.encode("ascii"), self.uri(value.path))


def is_bulk(tag: int, vr: bytes, length: int) -> bool:
    """Return whether a value is told by its URI only."""
    if vr in BINARY_VRS:
        return length > MAX_INLINE_BINARY_BYTES or (tag == PIXEL_DATA and length > 0)
    return length > MAX_INLINE_BYTES


def is_left_out(tag: int) -> bool:
    """Return whether an element is a group length, or of a group that belongs to no data set."""
    return not tag & 0xFFFF or tag >> 16 in FOREIGN_GROUPS


def join_members(members: dict[int, bytes]) -> bytes:
    """Return the object of a data set, by ascending tags (PS3.18 F.2.2)."""
    return b"{" + b",".join(members[tag] for tag in sorted(members)) + b"}"


def name_member(tag: int, members: bytes) -> bytes:
    """Return one attribute, named by its tag."""
    return b'"%08X":{%b}' % (tag, members)


@dataclass(slots=True)
class _OpenSequence:
    tag: int
    items: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _OpenDataSet:
    path: str
    members: dict[int, bytes] = field(default_factory=dict)


class DataSetJson:
    """Writes one data set.

    Args:
        again: returns the data set from its beginning, each time.
        written: its encoding.
        base: what is added to positions in it.
        found: collects what is found.
        characters: the character set around it.
        unknown: number of unknown sequences that it lies in.
    """

    def __init__(
        self,
        again: Callable[[], DataSetSource],
        written: AsWritten,
        base: int,
        found: Found,
        characters: CharacterSet = DEFAULT_REPERTOIRE,
        *,
        unknown: int = 0,
    ) -> None:
        self._again = again
        self._written = written
        self._base = base
        self._found = found
        self._unknown = unknown
        self._characters = {0: characters}
        self._numbers: dict[tuple[int, int], int] = {}
        self._fragments: tuple[array[int], array[int]] = array("Q"), array("Q")
        self._encapsulated: tuple[Met, int] | None = None
        self._unread: int | None = None
        """Tag of the outermost bulk value that is stepped over next."""
        self._whole_bulk = 0
        """Number of bulk values whose outermost element is there."""
        self._open: list[_OpenDataSet | _OpenSequence] = [_OpenDataSet("")]
        self._source = again()

    def members(self, path: str = "") -> dict[int, bytes]:
        """Return the attributes of the data set; without those that cannot be read.

        Raises:
            Undecodable: there are too many, or they are too long.
            OSError: the file cannot be read.
        """
        self._note_numbers()
        outermost = _OpenDataSet(path)
        self._open = [outermost]
        self._source = self._again()
        try:
            for met in walk_structure(self._source, self._written):
                self._take(met)
        except Untranscodable:
            self._found.complete = False
            self._drop_unread(outermost)
        return outermost.members

    def _drop_unread(self, outermost: _OpenDataSet) -> None:
        """Leave out the bulk data of what could not be read to its end."""
        if self._unread is not None:
            del outermost.members[self._unread]
            self._found.image.places.pop(self._unread, None)
            self._whole_bulk -= 1
        del self._found.bulk[self._whole_bulk :]

    def _note_numbers(self) -> None:
        """Note what decides between several VRs: it may come after what it decides."""
        source = self._again()
        try:
            for count, met in enumerate(walk_structure(source, self._written)):
                if count > 4 * MAX_ELEMENTS:
                    break
                if met.kind is StructureEvent.VALUE and met.tag in _DECISIVE:
                    unsigned = met.level.encoding.unsigned
                    raw = source.ahead(min(met.length, unsigned.size))
                    if len(raw) == unsigned.size and len(self._numbers) < MAX_NOTED_LEVELS:
                        key = met.level.start, met.tag
                        self._numbers.setdefault(key, unsigned.unpack(raw)[0])
        except Untranscodable:
            pass

    def _take(self, met: Met) -> None:
        kind = met.kind
        self._unread = None
        if kind is StructureEvent.VALUE:
            self._value(met)
        elif kind is StructureEvent.SEQUENCE:
            self._open.append(_OpenSequence(met.tag))
        elif kind is StructureEvent.ITEM:
            self._begin_item()
        elif kind is StructureEvent.ITEM_END:
            self._end_item()
        elif kind is StructureEvent.SEQUENCE_END:
            sequence = self._open.pop()
            if isinstance(sequence, _OpenSequence):
                self._add(sequence.tag, encode_items(sequence.items), counted=True)
        elif kind is not StructureEvent.STRAY:
            self._take_fragments(met)

    def _begin_item(self) -> None:
        around = self._open[-1]
        if isinstance(around, _OpenSequence):
            self._found.count(2)
            path = f"{self._path()}{around.tag:08X}/{len(around.items)}/"
            self._open.append(_OpenDataSet(path))

    def _end_item(self) -> None:
        ended, around = self._open.pop(), self._open[-1]
        if isinstance(ended, _OpenDataSet) and isinstance(around, _OpenSequence):
            around.items.append(join_members(ended.members))

    def _take_fragments(self, met: Met) -> None:
        if met.kind is StructureEvent.FRAGMENTS:
            self._fragments = array("Q"), array("Q")
            self._encapsulated = met, self._source.position
        elif met.kind is StructureEvent.FRAGMENT:
            positions, lengths = self._fragments
            if len(positions) >= MAX_FRAGMENTS:
                raise Undecodable(message("too many fragments"))
            positions.append(self._base + self._source.position)
            lengths.append(met.length)
        elif self._encapsulated is not None:
            self._end_fragments(*self._encapsulated)

    def _path(self) -> str:
        data_set = next(one for one in reversed(self._open) if isinstance(one, _OpenDataSet))
        return data_set.path

    def _add(self, tag: int, members: bytes, *, counted: bool = False) -> None:
        data_set = self._open[-1]
        if isinstance(data_set, _OpenDataSet) and not is_left_out(tag):
            attribute = name_member(tag, members)
            self._found.count(0 if counted else len(attribute))
            # The first of several counts, as everywhere in the suite.
            data_set.members.setdefault(tag, attribute)
            if len(self._open) == 1:
                self._whole_bulk = len(self._found.bulk)

    def _value(self, met: Met) -> None:
        tag, length, level = met.tag, met.length, met.level
        if is_left_out(tag) or self._has(tag) or self._unknown_sequence(met):
            return
        source, big = self._source, level.encoding.big
        vr = self._choose(level, tag, met.vr)
        self._note_place(level, tag, ValuePosition(self._base + source.position, length))
        if is_bulk(tag, vr, length):
            self._add(tag, self._bulk(tag, vr, source.position, length, big=big))
            self._unread = tag if level.parent is None else None
            return
        raw = source.ahead(length)
        if len(raw) < length:
            raise Untranscodable(message("the data set is cut short"))
        if tag in IMAGE_TAGS and self._is_outermost(level):
            self._found.image.values[tag] = raw
        if tag == SPECIFIC_CHARACTER_SET:
            self._characters[level.start] = character_set(raw)
        # Unknown values are in little endian, whatever surrounds them (PS3.5 6.2.2, note 2).
        big = big and met.vr != UNKNOWN
        self._add(tag, encode_value(vr, raw, self._characters_of(level), big=big))

    def _is_outermost(self, level: NestingLevel) -> bool:
        return not self._unknown and level.parent is None

    def _unknown_sequence(self, met: Met) -> bool:
        """Write an element of VR UN as the sequence that the dictionary knows, if it is one."""
        tag, length, level = met.tag, met.length, met.level
        if met.vr != UNKNOWN or not 0 < length <= MAX_INLINE_BYTES:
            return False
        if listed(tag, level.creators) != SEQUENCE or self._unknown >= MAX_UNKNOWN_DEPTH:
            return False
        raw = self._source.ahead(length)
        characters = self._characters_of(level)
        members = unknown_sequence(raw, characters, self._unknown) if len(raw) == length else None
        if members is not None:
            self._add(tag, members)
        return members is not None

    def _has(self, tag: int) -> bool:
        data_set = self._open[-1]
        return isinstance(data_set, _OpenDataSet) and tag in data_set.members

    def _bulk(self, tag: int, vr: bytes, position: int, length: int, *, big: bool) -> bytes:
        path = f"{self._path()}{tag:08X}"
        return self._found.add_bulk(
            BulkValue(path, vr.decode("ascii"), self._base + position, length, False, big)
        )

    def _note_place(self, level: NestingLevel, tag: int, place: ValuePosition) -> None:
        if tag in PLACED and self._is_outermost(level):
            self._found.image.places[tag] = place

    def _end_fragments(self, met: Met, begin: int) -> None:
        positions, lengths = self._fragments
        if self._has(met.tag):
            return
        length = positions[-1] + lengths[-1] - self._base - begin if positions else 0
        vr = met.vr if b" or " not in met.vr else b"OB"
        path = f"{self._path()}{met.tag:08X}"
        value = BulkValue(path, vr.decode("ascii"), self._base + begin, length, True)
        self._add(met.tag, self._found.add_bulk(value))
        if met.tag == PIXEL_DATA and self._is_outermost(met.level):
            self._found.image.fragments = self._fragments
        self._note_place(met.level, met.tag, ValuePosition(value.position, length, True))

    def _choose(self, level: NestingLevel, tag: int, vr: bytes) -> bytes:
        if vr == UNKNOWN:
            vr = listed(tag, level.creators)
            if vr == SEQUENCE:
                return UNKNOWN
        return choose_vr(
            tag,
            vr,
            signed=bool(self._number(level, PIXEL_REPRESENTATION)),
            waveform_bits=self._number(level, WAVEFORM_BITS_ALLOCATED),
        )

    def _number(self, level: NestingLevel, tag: int) -> int:
        """Return a number of a data set or of the nearest one around it, else 0."""
        around: NestingLevel | None = level
        while around is not None:
            if (around.start, tag) in self._numbers and not around.items:
                return self._numbers[around.start, tag]
            around = around.parent
        return 0

    def _characters_of(self, level: NestingLevel) -> CharacterSet:
        around: NestingLevel | None = level
        while around is not None and around.parent is not None:
            if around.start in self._characters and not around.items:
                return self._characters[around.start]
            around = around.parent
        return self._characters[0]


def encode_items(items: list[bytes]) -> bytes:
    """Return the members of a sequence with these items."""
    if not items:
        return b'"vr":"SQ"'
    return b'"vr":"SQ","Value":[' + b",".join(items) + b"]"


def unknown_sequence(raw: bytes, characters: CharacterSet, around: int = 0) -> bytes | None:
    """Return the members of a sequence that was written as UN with a length.

    Its items are in implicit VR little endian (PS3.5 6.2.2, note 2). None means that they are no
    items, or contain bulk data, which would have no position of their own. `around` is the number
    of such sequences that it lies in.
    """
    if not raw.startswith(ITEM_BYTES[0]):
        return None
    # Any sequence of the dictionary has the same items.
    whole = HEADER.pack(ANY_SEQUENCE >> 16, ANY_SEQUENCE & 0xFFFF, len(raw)) + raw
    found = Found(str, StoredImage(""))
    written = AsWritten(IMPLICIT)
    nested = DataSetJson(
        lambda: HeldSource(whole), written, 0, found, characters, unknown=around + 1
    )
    member = nested.members().get(ANY_SEQUENCE, b"")
    if not found.complete or found.bulk or not member.startswith(b'"vr":"SQ"', NAME_BYTES):
        return None
    return member[NAME_BYTES:-1]


ANY_SEQUENCE: Final = 0x00081140
PLACED: Final = PIXEL_VALUES | {EXTENDED_OFFSETS, EXTENDED_LENGTHS}
"""Elements whose positions are kept, to find frames."""
NAME_BYTES: Final = 12
"""Length of the name of an attribute in a document, with what opens its object."""
_DECISIVE: Final = frozenset((PIXEL_REPRESENTATION, WAVEFORM_BITS_ALLOCATED))


class HeldSource(DataSetSource):
    """A data set in memory."""

    def __init__(self, held: bytes) -> None:
        super().__init__()
        self._held = held

    @property
    @override
    def size(self) -> int:
        return len(self._held)

    @override
    def _more(self, position: int, size: int) -> bytes:
        return b""

    @override
    def _leap(self, position: int) -> None:
        raise Untranscodable(message("the data set is cut short"))
