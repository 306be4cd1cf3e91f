"""Parses identifiers: conditions, and the elements of each answer (PS3.4 C.4.1).

It is tolerant where the standard allows it: attributes of higher levels are matched and returned;
attributes of lower levels and unknown ones are returned empty, which status 0xFF01 reports.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.encoding.characters import (
    DEFAULT_REPERTOIRE,
    TEXT_VRS,
    CharacterSet,
    UndecodableText,
    character_set,
    distinct,
)
from draw_shared.dicom.encoding.data_set import scanner_for
from draw_shared.dicom.encoding.intervals import Dates, Times, combine
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.network.service import OperationRefused, QueryRequest
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.query.keys import (
    BY_TAG,
    IDENTIFIERS,
    REQUEST_ATTRIBUTE_KEYWORDS,
    REQUEST_ATTRIBUTES,
    IndexedAttribute,
    Level,
)
from draw_shared.dicom.query.levels import (
    level_named,
    require_keys_above,
    require_unique_key,
    unique_key,
)
from draw_shared.dicom.query.matching import (
    Condition,
    InvalidKey,
    Items,
    Names,
    Nothing,
    parse,
    pattern,
)
from draw_shared.wording import message

SPECIFIC_CHARACTER_SET: Final = 0x00080005
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
RETRIEVE_AE_TITLE: Final = 0x00080054
INSTANCE_AVAILABILITY: Final = 0x00080056
NOT_KEYS: Final = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, 0x00080053})
"""Elements that control a query and are no keys, among them Query/Retrieve View (0008,0053)."""
RELATIONAL_QUERIES: Final = 0
COMBINED_DATE_TIME: Final = 1
"""Positions in the extended negotiation of a query model (PS3.4 C.5.1.1)."""
MAX_KEYS: Final = 512


def _tag(keyword: str) -> int:
    tag = dictionary.tag_of(keyword)
    if tag is None:
        raise LookupError(keyword)
    return tag


def _computed(level: Level, keyword: str, column: str) -> IndexedAttribute:
    tag = _tag(keyword)
    return IndexedAttribute(keyword, tag, dictionary.vr_of(tag), level, column)


COMPUTED: Final = (
    _computed(Level.PATIENT, "NumberOfPatientRelatedStudies", "study_count"),
    _computed(Level.PATIENT, "NumberOfPatientRelatedSeries", "series_count"),
    _computed(Level.PATIENT, "NumberOfPatientRelatedInstances", "instance_count"),
    _computed(Level.STUDY, "ModalitiesInStudy", "modalities"),
    _computed(Level.STUDY, "SOPClassesInStudy", "sop_classes"),
    _computed(Level.STUDY, "NumberOfStudyRelatedSeries", "series_count"),
    _computed(Level.STUDY, "NumberOfStudyRelatedInstances", "instance_count"),
    _computed(Level.SERIES, REQUEST_ATTRIBUTES, "request_attributes"),
    _computed(Level.SERIES, "NumberOfSeriesRelatedInstances", "instance_count"),
    _computed(Level.IMAGE, "AvailableTransferSyntaxUID", "transfer_syntax_uid"),
)
"""Attributes that the index computes for an entity and that no object contains."""

KNOWN: Final = BY_TAG | {attribute.tag: attribute for attribute in COMPUTED}
REQUEST_ATTRIBUTE_TAGS: Final = {_tag(k): k for k in REQUEST_ATTRIBUTE_KEYWORDS}

_DATE_OF: Final = {
    keyword: keyword.removesuffix("Time") + "Date"
    for keyword in (attribute.keyword for attribute in BY_TAG.values())
    if keyword.endswith("Time")
}


class Constant(Enum):
    """Answers that are the same for every entity."""

    RETRIEVE_AE_TITLE = RETRIEVE_AE_TITLE
    INSTANCE_AVAILABILITY = INSTANCE_AVAILABILITY


@dataclass(frozen=True, slots=True)
class Asked:
    """One element of every answer: an attribute, a constant, or empty."""

    tag: int
    vr: str
    source: IndexedAttribute | Constant | None = None
    items: tuple["Asked", ...] = ()
    """Elements of each item, if it is a sequence; empty means all known ones."""


@dataclass(frozen=True, slots=True)
class FindQuery:
    """One parsed C-FIND identifier."""

    level: Level
    conditions: Mapping[IndexedAttribute, Condition]
    asked: tuple[Asked, ...]
    """In ascending order of tags."""
    characters: CharacterSet = DEFAULT_REPERTOIRE
    misread: tuple[str, ...] = ()
    """Keywords of keys that are undecodable in their character set, and were read by guess."""

    @property
    def impossible(self) -> tuple[str, ...]:
        """Keywords of keys whose values are invalid for their attributes: nothing matches."""
        return tuple(
            attribute.keyword
            for attribute, condition in self.conditions.items()
            if isinstance(condition, Nothing)
        )

    @property
    def complete(self) -> bool:
        """Whether every key is supported (otherwise 0xFF01)."""
        return all(
            one.source is not None and all(item.source for item in one.items) for one in self.asked
        )

    @property
    def columns(self) -> tuple[IndexedAttribute, ...]:
        """The attributes to read for each match, without duplicates."""
        sources = [one.source for one in self.asked if isinstance(one.source, IndexedAttribute)]
        return tuple(dict.fromkeys([*sources, *self.left_over]))

    @property
    def left_over(self) -> Mapping[IndexedAttribute, Names]:
        """Conditions on person names that have no comparable text in the index."""
        return {
            attribute: condition
            for attribute, condition in self.conditions.items()
            if isinstance(condition, Names) and not attribute.search
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """What a C-GET or C-MOVE selects."""

    level: Level
    conditions: Mapping[IndexedAttribute, Condition]
    misread: tuple[str, ...] = ()
    """As in `FindQuery`."""


class _Identifier:
    """The decoded elements of an identifier."""

    def __init__(self, request: QueryRequest) -> None:
        self.scanner = scanner_for(request.context.transfer_syntax, request.identifier)
        self.elements: dict[int, tuple[str, bytes]] = {}
        for tag, vr, raw in self.scanner.elements(request.identifier):
            self.elements[tag] = _vr(tag, vr), raw
            if len(self.elements) > MAX_KEYS:
                raise Undecodable(message("an identifier has too many keys"))
        self.characters = character_set(self.elements.get(SPECIFIC_CHARACTER_SET, ("", b""))[1])
        self._misread: list[str] = []
        self.level = level_named(
            self.elements.get(QUERY_RETRIEVE_LEVEL, ("", b""))[1].decode("ascii", "replace"),
            request.sop_class_uid,
        )

    def asked_for(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield (tag, VR, raw value) of each key, in ascending order."""
        for tag in sorted(self.elements):
            if tag > SPECIFIC_CHARACTER_SET and tag not in NOT_KEYS and tag & 0xFFFF:
                yield tag, *self.elements[tag]

    def text(self, key: IndexedAttribute, raw: bytes) -> str:
        """Return the text of a key, decoded as the index decodes objects."""
        if key.vr == "US":
            return "\\".join(map(str, self.scanner.numbers(raw)))
        if key.vr not in TEXT_VRS:
            if not raw.isascii():
                self._misread.append(key.keyword)
            return raw.decode("ascii", "replace")
        try:
            text = self.characters.decode(raw, key.vr)
        except UndecodableText:
            self._misread.append(key.keyword)
            text = self.characters.read(raw, key.vr)
            if key.keyword in IDENTIFIERS and pattern(text).literal is not None:
                text = distinct(text, raw)
        return text.replace("\0", "")

    @property
    def misread(self) -> tuple[str, ...]:
        """Keywords of keys that are undecodable in their character set."""
        return tuple(self._misread)


def parse_find(request: QueryRequest, extended: bytes) -> FindQuery:
    """Parse the identifier of a C-FIND.

    `extended` is what was negotiated for its SOP class.

    Raises:
        OperationRefused: the identifier is malformed, or breaks the rules of its model.
    """
    with _IdentifierErrors():
        identifier = _Identifier(request)
        conditions: dict[IndexedAttribute, Condition] = {}
        asked = [
            _add_key(identifier, tag, vr, raw, conditions)
            for tag, vr, raw in identifier.asked_for()
        ]
        if not any(one.tag == RETRIEVE_AE_TITLE for one in asked):
            # Every answer names the AE to retrieve from (PS3.4 C.4.1.1.3.2).
            asked.append(Asked(RETRIEVE_AE_TITLE, "AE", Constant.RETRIEVE_AE_TITLE))
    if not _is_negotiated(extended, RELATIONAL_QUERIES):
        require_keys_above(identifier.level, request.sop_class_uid, conditions)
    if _is_negotiated(extended, COMBINED_DATE_TIME):
        _combine(conditions)
    return FindQuery(
        identifier.level,
        conditions,
        tuple(sorted(asked, key=lambda one: one.tag)),
        identifier.characters,
        identifier.misread,
    )


def parse_retrieve(request: QueryRequest, extended: bytes) -> Selection:
    """Parse the identifier of a C-GET or C-MOVE: unique keys only, others are ignored.

    Raises:
        OperationRefused: the identifier is malformed, or breaks the rules of its model.
    """
    with _IdentifierErrors():
        identifier = _Identifier(request)
        conditions: dict[IndexedAttribute, Condition] = {}
        for level in Level:
            key = unique_key(level)
            if level <= identifier.level and key.tag in identifier.elements:
                text = identifier.text(key, identifier.elements[key.tag][1])
                condition = parse(key.vr, text)
                if condition is not None:
                    conditions[key] = condition
    if not _is_negotiated(extended, RELATIONAL_QUERIES):
        require_keys_above(identifier.level, request.sop_class_uid, conditions)
    require_unique_key(identifier.level, conditions)
    return Selection(identifier.level, conditions, identifier.misread)


class _IdentifierErrors:
    """Turns errors of an identifier into the statuses that report them (PS3.4 C.4.1.1.4)."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Undecodable | InvalidKey):
            raise OperationRefused(DimseStatus.CANNOT_UNDERSTAND, str(error)) from error


def _is_negotiated(extended: bytes, position: int) -> bool:
    return len(extended) > position and extended[position] == 1


def _add_key(
    identifier: _Identifier,
    tag: int,
    vr: str,
    raw: bytes,
    conditions: dict[IndexedAttribute, Condition],
) -> Asked:
    """Return the answer element for one key, and add its condition."""
    if tag in {RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY}:
        return Asked(tag, vr, Constant(tag))
    attribute = KNOWN.get(tag)
    if attribute is None or attribute.level > identifier.level:
        return Asked(tag, vr)
    if attribute.vr == "SQ":
        return _add_sequence_key(identifier, attribute, raw, conditions)
    condition = parse(attribute.vr, identifier.text(attribute, raw))
    if condition is not None:
        conditions[attribute] = condition
    return Asked(tag, attribute.vr, attribute)


def _add_sequence_key(
    identifier: _Identifier,
    attribute: IndexedAttribute,
    raw: bytes,
    conditions: dict[IndexedAttribute, Condition],
) -> Asked:
    """Return the answer element for a sequence; its key holds one item (PS3.4 C.2.2.2.6)."""
    first = next(identifier.scanner.each_item(raw), b"")
    found: list[tuple[str, Condition]] = []
    items: list[Asked] = []
    for tag, raw_vr, value in identifier.scanner.elements(first):
        keyword, vr = REQUEST_ATTRIBUTE_TAGS.get(tag), _vr(tag, raw_vr)
        if keyword is None:
            items.append(Asked(tag, vr))
            continue
        source = _item_attribute(tag)
        items.append(Asked(tag, source.vr, source))
        condition = parse(source.vr, identifier.text(source, value))
        if condition is not None:
            found.append((keyword, condition))
    if not items:
        items = list(sequence_items())
    if any(isinstance(condition, Nothing) for _, condition in found):
        conditions[attribute] = Nothing()
    elif found:
        conditions[attribute] = Items(tuple(found))
    return Asked(attribute.tag, "SQ", attribute, tuple(sorted(items, key=lambda one: one.tag)))


def sequence_items() -> tuple[Asked, ...]:
    """Return every element of an item of Request Attributes Sequence, in ascending order."""
    return tuple(
        Asked(tag, dictionary.vr_of(tag), _item_attribute(tag))
        for tag in sorted(REQUEST_ATTRIBUTE_TAGS)
    )


def _item_attribute(tag: int) -> IndexedAttribute:
    return IndexedAttribute(REQUEST_ATTRIBUTE_TAGS[tag], tag, dictionary.vr_of(tag), Level.SERIES)


def _combine(conditions: dict[IndexedAttribute, Condition]) -> None:
    """Combine a date and its time into one moment if both are keys (C.2.2.2.5)."""
    by_keyword = {attribute.keyword: attribute for attribute in conditions}
    for time_keyword, date_keyword in _DATE_OF.items():
        day, moment = by_keyword.get(date_keyword), by_keyword.get(time_keyword)
        if day is None or moment is None:
            continue
        days, times = conditions[day], conditions[moment]
        if isinstance(days, Dates) and isinstance(times, Times):
            conditions[day] = combine(days, times)
            del conditions[moment]


def time_of(attribute: IndexedAttribute) -> IndexedAttribute:
    """Return the time attribute that belongs to a date attribute."""
    keyword = attribute.keyword.removesuffix("Date") + "Time"
    return next(one for one in BY_TAG.values() if one.keyword == keyword)


def several_valued(attribute: IndexedAttribute) -> bool:
    """Return whether an entity may have several values, of which one must match."""
    return not attribute.column and dictionary.entry_of(attribute.tag).multiplicity != "1"


def _vr(tag: int, given: bytes) -> str:
    if given:
        return given.decode("ascii")
    try:
        return dictionary.vr_of(tag)[:2]
    except KeyError:
        return "UN"


Row = Sequence[bytes | None]
"""The values of one match in the order of `FindQuery.columns`, as UTF-8 text."""
