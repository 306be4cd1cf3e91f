"""Parses the parameters of QIDO-RS into the query that C-FIND uses too (PS3.18 10.6.1.2).

Matching is that of `matching`, so that both protocols find the same. Attributes are named by
keyword, by tag, or as a dotted path into Request Attributes Sequence, the one sequence that the
index holds. Names that are not known, or that the index cannot compare at this level, are told back
and do not restrict the answer, as PS3.18 10.6.1.2 wants.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.encoding.search_text import search_text
from draw_shared.dicom.query.keys import (
    BY_KEYWORD,
    REQUEST_ATTRIBUTES,
    IndexedAttribute,
    Level,
    of_level,
)
from draw_shared.dicom.query.matching import (
    Condition,
    Items,
    Name,
    Names,
    Nothing,
    Pattern,
    Texts,
    Wild,
    parse,
)
from draw_shared.dicom.query.query import (
    COMPUTED,
    KNOWN,
    REQUEST_ATTRIBUTE_TAGS,
    Asked,
    Constant,
    FindQuery,
    sequence_items,
)

ALL: Final = "all"
MAX_FUZZY_WORDS: Final = 4
"""More words in any order would be too many patterns; the others are left as they stand."""
HEX_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
WORD_ENDS: Final = re.compile(r"[\s^=,*?]+")

USUAL: Final = {
    Level.STUDY: (
        "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy",
        "ReferringPhysicianName", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
        "StudyInstanceUID", "StudyID", "StudyDescription", "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber",
        "NumberOfSeriesRelatedInstances", "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime", "RequestAttributesSequence",
    ),
    Level.IMAGE: (
        "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "NumberOfFrames", "Rows", "Columns",
        "BitsAllocated", "AvailableTransferSyntaxUID",
    ),
}  # fmt: skip
"""What each answer has without being asked for (PS3.18 10.6.3.3), and a study's description."""


@dataclass(frozen=True, slots=True)
class WebSearch:
    """One parsed search."""

    query: FindQuery
    ignored: tuple[str, ...]
    """Names of parameters that do not restrict the answer."""


def parse_search(
    level: Level,
    within: Sequence[tuple[str, str]],
    keys: Sequence[tuple[str, str]],
    included: Iterable[str],
    *,
    fuzzy: bool = False,
) -> WebSearch:
    """Return the query of a search.

    Args:
        level: what is searched for.
        within: keywords and UIDs from the path; attributes of their levels are known and are
            answered only on demand.
        keys: names and values to match; a comma separates the UIDs of a list.
        included: names of further attributes to answer, or `all`.
        fuzzy: whether words of person names match in any order, and in part.

    Raises:
        InvalidKey: a value is too long.
    """
    search = _Search(level, within, fuzzy=fuzzy)
    for name, value in keys:
        search.match(name, value)
    for name in included:
        search.include(name)
    return search.finish()


class _Search:
    """A search under construction."""

    def __init__(self, level: Level, within: Sequence[tuple[str, str]], *, fuzzy: bool) -> None:
        self._level = level
        self._fuzzy = fuzzy
        self._conditions: dict[IndexedAttribute, Condition] = {
            BY_KEYWORD[keyword]: parse("UI", uid) or Nothing() for keyword, uid in within
        }
        self._fixed = frozenset(self._conditions)
        self._items: list[tuple[str, Condition]] = []
        known = {keyword for keyword, _ in within}
        self._asked = {one.tag: one for one in _usual(level, known)}
        self._ignored: dict[str, None] = {}

    def match(self, name: str, value: str) -> None:
        """Add a key."""
        outer, inner = _attributes(name)
        if outer is None or outer.level > self._level or (outer.vr == "SQ") != (inner is not None):
            self._ignored[name] = None
            return
        self._asked[outer.tag] = _asked(outer)
        condition = _condition(inner or outer, value, fuzzy=self._fuzzy)
        if condition is None:
            return
        if inner is not None:
            self._items.append((inner.keyword, condition))
        elif outer in self._fixed:
            self._conditions[outer] = _common(self._conditions[outer], condition)
        elif outer in self._conditions:
            self._conditions[outer] = _either(self._conditions[outer], condition)
        else:
            self._conditions[outer] = condition

    def include(self, name: str) -> None:
        """Add attributes to the answers."""
        if name.lower() == ALL:
            computed = [one for one in COMPUTED if one.level is self._level]
            levels = [held for held in Level if held <= self._level]
            stored = [one for held in levels for one in of_level(held)]
            self._asked |= {one.tag: _asked(one) for one in [*stored, *computed]}
            return
        outer, _ = _attributes(name)
        if outer is None or outer.level > self._level:
            self._ignored[name] = None
        else:
            self._asked[outer.tag] = _asked(outer)

    def finish(self) -> WebSearch:
        """Return the search."""
        if self._items:
            impossible = any(isinstance(condition, Nothing) for _, condition in self._items)
            sequence = KNOWN[_tag(REQUEST_ATTRIBUTES)]
            self._conditions[sequence] = Nothing() if impossible else Items(tuple(self._items))
        asked = tuple(self._asked[tag] for tag in sorted(self._asked))
        return WebSearch(FindQuery(self._level, self._conditions, asked), tuple(self._ignored))


def _usual(level: Level, known: set[str]) -> Iterable[Asked]:
    for above in Level:
        if above is Level.PATIENT or above > level:
            continue
        unique = {Level.STUDY: "StudyInstanceUID", Level.SERIES: "SeriesInstanceUID"}.get(above)
        if above < level and unique in known:
            yield _asked(BY_KEYWORD[unique])
            continue
        for keyword in USUAL[above]:
            yield _asked(KNOWN[_tag(keyword)])
    for constant in Constant:
        if constant is Constant.INSTANCE_AVAILABILITY:
            yield Asked(constant.value, dictionary.vr_of(constant.value), constant)


def _asked(attribute: IndexedAttribute) -> Asked:
    items = sequence_items() if attribute.vr == "SQ" else ()
    return Asked(attribute.tag, attribute.vr, attribute, items)


def _attributes(name: str) -> tuple[IndexedAttribute | None, IndexedAttribute | None]:
    """Return the attribute of a name, and the one inside if it is a path."""
    outer_name, _, inner_name = name.partition(".")
    tag = _tag_or_none(outer_name)
    outer = KNOWN.get(tag) if tag is not None else None
    if not inner_name or outer is None:
        return (None if inner_name else outer), None
    inner_tag = _tag_or_none(inner_name)
    keyword = REQUEST_ATTRIBUTE_TAGS.get(inner_tag) if inner_tag is not None else None
    if outer.vr != "SQ" or inner_tag is None or keyword is None:
        return None, None
    vr = dictionary.vr_of(inner_tag)
    return outer, IndexedAttribute(keyword, inner_tag, vr, outer.level)


def _tag_or_none(name: str) -> int | None:
    return int(name, 16) if HEX_TAG.fullmatch(name) else dictionary.tag_of(name)


def _tag(keyword: str) -> int:
    tag = dictionary.tag_of(keyword)
    if tag is None:
        raise LookupError(keyword)
    return tag


def _condition(attribute: IndexedAttribute, value: str, *, fuzzy: bool) -> Condition | None:
    if attribute.vr == "UI":
        value = value.replace(",", "\\")
    if fuzzy and attribute.vr == "PN":
        return _fuzzy_names(value)
    return parse(attribute.vr, value)


def _fuzzy_names(value: str) -> Condition | None:
    """Return the condition that a name has parts with these words, in whatever order."""
    exact = parse("PN", value)
    words = [word for word in WORD_ENDS.split(search_text(value)) if word][:MAX_FUZZY_WORDS]
    if exact is None or not words:
        return exact
    orders = dict.fromkeys(permutations(words))
    found = tuple(Pattern(tuple(_between(order))) for order in orders)
    return Names((Name(anywhere=found),))


def _between(words: Iterable[str]) -> Iterable[str | Wild]:
    yield Wild.MANY
    for word in words:
        yield word
        yield Wild.MANY


def _either(one: Condition, other: Condition) -> Condition:
    """Return the condition of a key that is given twice: a longer list, or nothing fits both."""
    if isinstance(one, Texts) and isinstance(other, Texts):
        return Texts(tuple(dict.fromkeys([*one.values, *other.values])))
    return one if one == other else Nothing()


def _common(path: Condition, key: Condition) -> Condition:
    """Return the condition of a key that the path of the address holds already."""
    fits = isinstance(path, Texts) and isinstance(key, Texts) and {*path.values} & {*key.values}
    return path if fits else Nothing()
