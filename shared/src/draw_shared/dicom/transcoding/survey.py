"""Collects what must be known about a data set before it is written in another encoding."""

from array import array
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from draw_shared.dicom.encoding.element_forms import ITEM, PIXEL_DATA
from draw_shared.dicom.transcoding.encoding import EXPLICIT, AsWritten, ElementEncoding
from draw_shared.dicom.transcoding.lengths import Lengths
from draw_shared.dicom.transcoding.source import DataSetSource, Untranscodable
from draw_shared.dicom.transcoding.structure import (
    Met,
    NestingLevel,
    StructureEvent,
    walk_structure,
)
from draw_shared.wording import message

PIXEL_REPRESENTATION: Final = 0x00280103
WAVEFORM_BITS_ALLOCATED: Final = 0x54001004
SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
PLANAR_CONFIGURATION: Final = 0x00280006
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
NOTED: Final = frozenset(
    (
        PIXEL_REPRESENTATION, WAVEFORM_BITS_ALLOCATED, SAMPLES_PER_PIXEL,
        PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, NUMBER_OF_FRAMES, ROWS, COLUMNS,
        BITS_ALLOCATED, BITS_STORED,
    )
)  # fmt: skip
"""Elements of the image pixel module that describe the encoding of pixel data."""
MAX_NOTED_BYTES: Final = 64
MAX_NOTED: Final = 100_000
"""Data sets and encapsulated values of one object about which facts are kept."""
MAX_FRAGMENTS: Final = 2_000_000
ITEM_BYTES: Final = 8
"""Length of an item's tag and length."""


@dataclass(slots=True)
class Fragments:
    """Positions of an encapsulated value's fragments; the first is the basic offset table."""

    positions: "array[int]" = field(default_factory=lambda: array("Q"))
    lengths: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, position: int, length: int) -> None:
        """Add a fragment."""
        if len(self.lengths) >= MAX_FRAGMENTS:
            raise Untranscodable(message("too many fragments"))
        self.positions.append(position)
        self.lengths.append(length)

    @property
    def size(self) -> int:
        """Length of all fragments with their tags and lengths, bytes."""
        return sum(self.lengths) + ITEM_BYTES * len(self.lengths)


@dataclass(slots=True)
class Facts:
    """Facts about one data set: the outermost or an item."""

    unsigned: Struct
    values: dict[int, bytes] = field(default_factory=dict)
    pixels: Fragments | None = None
    """Encapsulated pixel data."""

    def number(self, tag: int) -> int | None:
        """Return the US value of an element, or None."""
        raw = self.values.get(tag, b"")
        return self.unsigned.unpack_from(raw)[0] if len(raw) >= self.unsigned.size else None


@dataclass(slots=True)
class Survey:
    """Facts about one object."""

    lengths: Lengths
    """Lengths of its sequences and items in the other encoding."""
    facts: dict[int, Facts] = field(default_factory=dict)
    """Facts by the position of the data set."""
    encapsulated: dict[int, Fragments] = field(default_factory=dict)
    """Encapsulated values that are not pixel data, by position."""
    fragments: Fragments = field(default_factory=Fragments)
    """Fragments of the encapsulated value met last."""

    def of(self, level: NestingLevel) -> Facts:
        """Return the facts about a data set."""
        if level.start not in self.facts:
            self._count()
            self.facts[level.start] = Facts(level.encoding.unsigned)
        return self.facts[level.start]

    def encapsulate(self, met: Met, position: int) -> None:
        """Record the beginning of an encapsulated value."""
        self.fragments = Fragments()
        if met.tag == PIXEL_DATA and not met.level.opaque:
            self.of(met.level).pixels = self.fragments
        else:
            self._count()
            self.encapsulated[position] = self.fragments

    def _count(self) -> None:
        if len(self.facts) + len(self.encapsulated) >= MAX_NOTED:
            raise Untranscodable(message("too many items with pixel data"))

    def number(self, level: NestingLevel, tag: int) -> int:
        """Return the US value of an element in a data set or the nearest one around it, else 0."""
        around: NestingLevel | None = level
        while around is not None:
            facts = self.facts.get(around.start)
            found = facts.number(tag) if facts is not None else None
            if found is not None:
                return found
            around = around.parent
        return 0


def survey_data_set(
    source: DataSetSource, written: AsWritten, target: ElementEncoding, *, compressed: bool
) -> Survey:
    """Walk through a whole data set and collect what another encoding requires.

    `compressed` says that its transfer syntax encapsulates pixel data.

    Raises:
        Untranscodable: it cannot be read to its end, or has too many facts.
    """
    survey = Survey(Lengths(target))
    for met in walk_structure(source, written):
        survey.lengths.note(met)
        if not met.regular and met.level.opaque:
            raise Untranscodable(message("a sequence of unknown VR is damaged"))
        if met.kind is StructureEvent.VALUE:
            if compressed and met.tag == PIXEL_DATA and source.ahead(len(_ITEM)) == _ITEM:
                raise Untranscodable(message("the encapsulated pixel data have a defined length"))
            if met.tag in NOTED and not met.level.opaque:
                survey.of(met.level).values[met.tag] = source.ahead(
                    min(met.length, MAX_NOTED_BYTES)
                )
        elif met.kind is StructureEvent.FRAGMENTS:
            survey.encapsulate(met, source.position)
        elif met.kind is StructureEvent.FRAGMENT:
            survey.fragments.add(source.position, met.length)
    return survey


_ITEM: Final = EXPLICIT.tag.pack(ITEM >> 16, ITEM & 0xFFFF)
