"""Attribute matching of C-FIND as data (PS3.4 C.2.2.2): what a key asks of a value.

A key is parsed once into a condition; the catalogue turns conditions into SQL. What these
conditions mean is decided here alone:

- No value, or nothing but `*`, matches everything (universal matching, C.2.2.2.3).
- A person name is compared by component group without letter case and accents. A key of
  one group finds it in any group of the name; a key of several groups must match each.
  Empty components at the end mean nothing, so `SMITH^*` finds SMITH as well.
- Other text is compared exactly; `*` and `?` are wildcards where C.2.2.2.4 allows them.
- Several values match what has any of them (UID lists, C.2.2.2.2, and other lists alike).
- Dates and times are intervals. What a time leaves out is open within its precision:
  `1015` is from 10:15:00 to 10:15:59.999999, and so is the end of `-1015`.
- An absent or unreadable value matches universal keys only.
- A key that is no date, time or number where its VR wants one matches nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

from draw_shared.dicom.encoding.intervals import (
    Dates,
    Moments,
    Times,
    UnreadableInterval,
    dates,
    times,
)
from draw_shared.dicom.encoding.search_text import person_name_search_text, search_text
from draw_shared.errors import Permanent

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
WHOLE_TEXT_VRS: Final = frozenset({"LT", "ST", "UT", "UR"})
"""VRs in which a backslash separates nothing (PS3.5 6.2)."""
NUMBER_VRS: Final = frozenset({"DS", "IS", "SL", "SS", "UL", "US"})
LIST_VRS: Final = frozenset({"UI"})
MAX_KEY_CHARACTERS: Final = {True: 262144, False: 4096}
"""Longest value of a key, characters: of a list of UIDs, and of anything else."""
NAME_GROUPS: Final = 3
MAX_NUMBER_CHARACTERS: Final = 32


class InvalidKey(Permanent):
    """A key is longer than any that is looked for; the text names no value."""


class Wild(Enum):
    """Wildcards of PS3.4 C.2.2.2.4."""

    ONE = "?"
    MANY = "*"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text with wildcards, as a series of literals and wildcards."""

    tokens: tuple[str | Wild, ...]

    @property
    def literal(self) -> str | None:
        """The text itself if there is no wildcard in it."""
        if any(isinstance(token, Wild) for token in self.tokens):
            return None
        return "".join(token for token in self.tokens if isinstance(token, str))

    def regex(self, one: str) -> str:
        """Return a regular expression; `one` is what matches one character."""
        words = {Wild.ONE: one, Wild.MANY: f"{one}*"}
        return "".join(
            words[token] if isinstance(token, Wild) else _escaped(token) for token in self.tokens
        )


@dataclass(frozen=True, slots=True)
class Texts:
    """The value is one of these."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Patterns:
    """The value fits one of these."""

    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The value is one of these numbers, however it is written."""

    values: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """What is asked of one person name, in comparable text (see `search_text`).

    `anywhere` holds patterns of which one must fit some component group; else `groups`
    holds for each group that is asked for the patterns of which one must fit it.
    """

    anywhere: tuple[Pattern, ...] = ()
    groups: tuple[tuple[int, tuple[Pattern, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """The person name fits one of these."""

    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """Some item of the sequence fits all of these, by keyword (C.2.2.2.6)."""

    conditions: tuple[tuple[str, "Condition"], ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """No value fits: the key is none that its attribute could have."""


Condition = Texts | Patterns | Numbers | Dates | Times | Moments | Names | Items | Nothing


def parse(vr: str, text: str) -> Condition | None:
    """Return what a key of this VR asks for, or None if it matches everything.

    Raises:
        InvalidKey: the value is too long.
    """
    text = text.strip(" \0")
    if not text.strip("*"):
        return None
    if len(text) > MAX_KEY_CHARACTERS[vr in LIST_VRS]:
        raise InvalidKey("a key is too long")
    if "\0" in text:
        return Nothing()
    if vr in _INTERVALS:
        return _interval(vr, text)
    values = [text] if vr in WHOLE_TEXT_VRS else [v.strip(" \0") for v in text.split("\\")]
    values = [value for value in values if value]
    if not values or any(not value.strip("*") for value in values):
        return None
    if vr == "PN":
        return _names(values)
    return _numbers(values) if vr in NUMBER_VRS else _texts(values, wild=vr in WILDCARD_VRS)


_INTERVALS: Final[Mapping[str, Callable[[str], Dates | Times]]] = {"DA": dates, "TM": times}


def _interval(vr: str, text: str) -> Dates | Times | Nothing:
    try:
        return _INTERVALS[vr](text)
    except UnreadableInterval:
        return Nothing()


def _texts(values: list[str], *, wild: bool) -> Texts | Patterns:
    patterns = tuple(pattern(value) for value in values)
    if wild and any(p.literal is None for p in patterns):
        return Patterns(patterns)
    return Texts(tuple(values))


def pattern(text: str) -> Pattern:
    """Return text in which `*` and `?` are wildcards."""
    tokens: list[str | Wild] = []
    for part in re.split(r"([*?])", text):
        token = Wild(part) if part in {"*", "?"} else part
        if token and not (token is Wild.MANY and tokens and tokens[-1] is Wild.MANY):
            tokens.append(token)
    return Pattern(tuple(tokens))


# --- person names ----------------------------------------------------------------------

# Characters of no script stand for wildcards while text is made comparable, so that a
# full-width asterisk, which becomes a plain one, stays what it is: a character.
_MANY, _ONE = "\ue000", "\ue001"
_HIDDEN: Final = str.maketrans({"*": _MANY, "?": _ONE})


def _names(values: list[str]) -> Names | None:
    names = tuple(_name(value) for value in values)
    if any(not name.anywhere and not name.groups for name in names):
        return None
    return Names(names)


def _name(value: str) -> Name:
    groups = [search_text(group.translate(_HIDDEN)) for group in value.split("=")[:NAME_GROUPS]]
    asked = [(n, _alternatives(group)) for n, group in enumerate(groups)]
    asked = [(n, patterns) for n, patterns in asked if patterns]
    if [n for n, _ in asked] == [0]:
        return Name(anywhere=asked[0][1])
    return Name(groups=tuple(asked))


def _alternatives(group: str) -> tuple[Pattern, ...]:
    """Return the patterns that together say what a group asks for; none asks for nothing."""
    found: list[Pattern] = []
    group = group.rstrip("^ ")
    while group.strip(_MANY):
        found.append(_name_pattern(group))
        if not group.endswith(f"^{_MANY}"):
            return tuple(found)
        group = group.removesuffix(f"^{_MANY}").rstrip("^ ")
    return ()


def _name_pattern(group: str) -> Pattern:
    tokens: list[str | Wild] = []
    for part in re.split(f"([{_MANY}{_ONE}])", group):
        token = {_MANY: Wild.MANY, _ONE: Wild.ONE}.get(part, part)
        if token and not (token is Wild.MANY and tokens and tokens[-1] is Wild.MANY):
            # No comparable text has this character inside a group.
            tokens.append(token.replace("=", " ") if isinstance(token, str) else token)
    return Pattern(tuple(tokens))


def name_fits(condition: Names, name: str) -> bool:
    """Return whether a person name, as stored, fits; for attributes without a search column."""
    comparable = person_name_search_text(name)
    groups = comparable[1:-1].split("=") if comparable else []
    return any(_fits(asked, groups) for asked in condition.names)


def _fits(asked: Name, groups: list[str]) -> bool:
    if asked.anywhere:
        return any(_some(asked.anywhere, group) for group in groups)
    return all(n < len(groups) and _some(wanted, groups[n]) for n, wanted in asked.groups)


def _some(patterns: tuple[Pattern, ...], text: str) -> bool:
    return any(_covers(one, text) for one in patterns)


def text_fits(condition: Texts | Patterns, value: str) -> bool:
    """Return whether a text fits; letter case counts, padding does not."""
    text = value.strip(" \0")
    if isinstance(condition, Texts):
        return text in condition.values
    return any(_covers(one, text) for one in condition.patterns)


def value_fits(condition: Condition, value: str) -> bool:
    """Return whether a value as a node tells it fits; what cannot be read fits nothing."""
    match condition:
        case Texts() | Patterns():
            return text_fits(condition, value)
        case Names():
            return name_fits(condition, value)
        case Dates() | Times():
            return _lies_in(condition, value)
        case Numbers():
            return _number(value) in condition.values
        case Nothing():
            return False
        case _:
            return True


def _lies_in(asked: Dates | Times, value: str) -> bool:
    read = dates if isinstance(asked, Dates) else times
    try:
        told = read(value.strip())
    except UnreadableInterval:
        return False
    low, high = told.low or told.high, told.high or told.low
    begins = asked.low is None or (high is not None and high >= asked.low)  # type: ignore[operator]
    ends = asked.high is None or (low is not None and low <= asked.high)  # type: ignore[operator]
    return begins and ends


def _covers(one: Pattern, text: str) -> bool:
    """Return whether a pattern fits all of a text, in time that no pattern can blow up."""
    wanted = [c for token in one.tokens for c in ([token] if isinstance(token, Wild) else token)]
    at = position = 0
    star, resume = -1, 0
    while position < len(text):
        if at < len(wanted) and wanted[at] is Wild.MANY:
            star, resume = at, position
            at += 1
        elif at < len(wanted) and wanted[at] in {Wild.ONE, text[position]}:
            at, position = at + 1, position + 1
        elif star >= 0:
            # The last asterisk takes one character more.
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return all(left is Wild.MANY for left in wanted[at:])


def _escaped(text: str) -> str:
    """Return text for a regular expression, in Python as in PostgreSQL."""
    return "".join(c if c.isalnum() or not c.isascii() else f"\\{c}" for c in text)


# --- numbers ---------------------------------------------------------------------------


def _numbers(values: list[str]) -> Numbers | Nothing:
    found = tuple(number for number in map(_number, values) if number is not None)
    return Numbers(found) if found else Nothing()


_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?0*\d{1,3})?", re.ASCII)


def _number(value: str) -> Decimal | None:
    """Return a number that a value can be, or None."""
    text = value.strip()
    if len(text) > MAX_NUMBER_CHARACTERS or not _NUMBER.fullmatch(text):
        return None
    return Decimal(text)
