"""Reads the values of subjects of conditions from a stored file, in bounded memory."""

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from struct import unpack_from
from typing import Final

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.characters import TEXT_VRS, CharacterSet, character_set
from draw_shared.dicom.encoding.data_set import gather
from draw_shared.dicom.encoding.scan import Scanner
from draw_shared.dicom.encoding.walk import Undecodable, WalkEnd
from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import ArrivalFacts, HeaderValues, RoutingFacts
from draw_shared.routing.subjects import MAX_VALUES, ConditionSubject, ValueKind, split_values

MAX_BYTES: Final = 64 * 1024 * 1024
"""Nothing behind this offset is read."""
MAX_VALUE_BYTES: Final = 64 * 1024
MAX_ITEMS: Final = 64
"""Items of one sequence; further ones are not looked at."""
CHARACTER_SET: Final = 0x00080005
COMPLETE: Final = frozenset((WalkEnd.PASSED, WalkEnd.ENDED))
GROUP: Final = 0xFFFF0000
FIRST_BLOCK: Final = 0x10
LAST_BLOCK: Final = 0xFF
BLOCK_BITS: Final = 8
PIXEL_REPRESENTATION: Final = 0x00280103
UNSIGNED_OR_SIGNED: Final = "US or SS"
NUMBERS: Final[Mapping[str, tuple[str, int]]] = {
    "US": ("H", 2),
    "SS": ("h", 2),
    "UL": ("I", 4),
    "SL": ("i", 4),
    "UV": ("Q", 8),
    "SV": ("q", 8),
    "FL": ("f", 4),
    "FD": ("d", 8),
}
"""Format and size of each binary number."""


@dataclass(frozen=True, slots=True)
class _Level:
    """The values of a data set or of an item, as they are in the file."""

    scanner: Scanner
    raw: Mapping[int, bytes]
    characters: CharacterSet
    signed: bool
    """Whether pixels are signed, and with them values of the VR `US or SS`."""


def read_header_values(path: Path, subjects: Sequence[ConditionSubject]) -> HeaderValues:
    """Return the values of those subjects that are elements.

    A file that cannot be read gives none, and is not complete.
    """
    elements = [subject for subject in subjects if subject.is_element]
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held,
            memoryview(held) as view,
            view[:MAX_BYTES] as data,
        ):
            return _read(data, elements, whole=len(view) <= MAX_BYTES)
    except (OSError, ValueError, Undecodable):
        return HeaderValues()


def _read(data: memoryview, elements: Sequence[ConditionSubject], *, whole: bool) -> HeaderValues:
    meta, offset = part10.decode(bytes(data[: part10.MAX_META_BYTES + part10.META_START]))
    public = [subject for subject in elements if not subject.creator]
    private = [subject for subject in elements if subject.creator]
    wanted = frozenset(
        (
            CHARACTER_SET,
            PIXEL_REPRESENTATION,
            *(subject.tags[0] for subject in public),
            *(tag for subject in private for tag in _creators(subject)),
        )
    )
    with data[offset:] as body:
        scanner, found = gather(
            body, meta.transfer_syntax_uid, wanted, last=max(wanted), whole=whole
        )
        placed = {s: tag for s in private if (tag := _place(s, found.values)) is not None}
        if placed:
            _, further = gather(
                body,
                meta.transfer_syntax_uid,
                frozenset(placed.values()),
                last=max(placed.values()),
                whole=whole,
            )
            ending = further.ending if found.ending in COMPLETE else found.ending
            found = further._replace(ending=ending, values={**found.values, **further.values})
    complete = found.ending in COMPLETE
    top = _Level(
        scanner,
        found.values,
        character_set(found.values.get(CHARACTER_SET, b"")),
        any(found.values.get(PIXEL_REPRESENTATION, b"")),
    )
    values: dict[str, tuple[str, ...]] = {}
    for subject in (*public, *placed):
        tags = (placed[subject],) if subject in placed else subject.tags
        try:
            texts = tuple(islice(_values(top, subject, tags), MAX_VALUES))
        except Undecodable:
            complete = False
        else:
            if texts:
                values[subject.name] = tuple(dict.fromkeys(texts))
    return HeaderValues(values, complete, meta.receiving_ae, meta.sending_ae, meta.sending_address)


def _creators(subject: ConditionSubject) -> range:
    """Return the tags in which a group names the creators of its blocks (PS3.5 7.8.1)."""
    group = subject.tags[0] & GROUP
    return range(group | FIRST_BLOCK, group + LAST_BLOCK + 1)


def _place(subject: ConditionSubject, raw: Mapping[int, bytes]) -> int | None:
    """Return the tag that a private element has in this file; None if its creator has no block."""
    for tag in _creators(subject):
        if raw.get(tag, b"").strip(b" \0").decode("ascii", "replace") == subject.creator:
            block = (tag & LAST_BLOCK) << BLOCK_BITS
            return subject.tags[0] & GROUP | block | subject.tags[0] & LAST_BLOCK
    return None


def _values(level: _Level, subject: ConditionSubject, tags: Sequence[int]) -> Iterator[str]:
    """Yield the values at a path; those of all items."""
    raw = level.raw.get(tags[0], b"")
    if not raw:
        return
    if len(tags) == 1:
        yield from _decode(level, subject, raw)
        return
    wanted = frozenset((CHARACTER_SET, tags[1]))
    for item in islice(level.scanner.items(raw, wanted), MAX_ITEMS):
        own = item.get(CHARACTER_SET)
        characters = character_set(own) if own else level.characters
        yield from _values(_Level(level.scanner, item, characters, level.signed), subject, tags[1:])


def _decode(level: _Level, subject: ConditionSubject, raw: bytes) -> tuple[str, ...]:
    if subject.kind is ValueKind.PRESENCE:
        return (f"{len(raw)} bytes",)
    raw, vr = raw[:MAX_VALUE_BYTES], subject.vr.partition(" or ")[0]
    if subject.vr == UNSIGNED_OR_SIGNED and level.signed:
        vr = "SS"
    if vr in NUMBERS:
        letter, size = NUMBERS[vr]
        order = ">" if level.scanner.big_endian else "<"
        numbers = unpack_from(f"{order}{min(len(raw) // size, MAX_VALUES)}{letter}", raw)
        return tuple(map(str, numbers))
    text = level.characters.read(raw, vr) if vr in TEXT_VRS else raw.decode("ascii", "replace")
    return split_values(text, vr)


def file_facts(
    path: Path, wanted: Iterable[ConditionSubject], trigger: Trigger, at: datetime
) -> RoutingFacts:
    """Return what a file says, as facts about a series, study or object that is only this file.

    Raises:
        OSError: there is no such file, or it may not be read.
    """
    size_bytes = path.stat().st_size
    header = read_header_values(path, tuple(wanted))
    arrival = ArrivalFacts(
        calling_ae=(header.sending_ae,) if header.sending_ae else (),
        called_ae=(header.receiving_ae,) if header.receiving_ae else (),
        address=(header.sending_address,) if header.sending_address else (),
        size_bytes=size_bytes,
    )
    values = {**header.values, **arrival.values()}
    return RoutingFacts(trigger, values, at, unreadable=not header.complete)
