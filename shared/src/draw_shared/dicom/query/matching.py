"""Attribute matching of C-FIND as data (PS3.4 C.2.2.2): the condition that a key sets for a value.

A key is parsed once into a condition; the catalogue turns conditions into SQL. Only this module
decides what the conditions mean:

- No value, or nothing but `*`, matches everything (universal matching, C.2.2.2.3).
- Person names are compared by component group, ignoring letter case and accents. A key of one
  group matches any group of the name; in a key of several groups, each must match its own.
  Empty components at the end mean nothing, so `SMITH^*` also matches SMITH.
- Other text is compared exactly; `*` and `?` are wildcards where C.2.2.2.4 allows them.
- A key of several values matches any of them (UID lists, C.2.2.2.2, and other lists alike).
- Dates and times are intervals. A shortened time covers all that it leaves open: `1015` is from
  10:15:00 to 10:15:59.999999, and so is the end of `-1015`.
- An absent or unreadable value matches only universal keys.
- A key that is no valid date, time or number for its VR matches nothing.
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
from draw_shared.wording import message

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
WHOLE_TEXT_VRS: Final = frozenset({"LT", "ST", "UT", "UR"})
"""VRs in which a backslash does not separate values (PS3.5 6.2)."""
NUMBER_VRS: Final = frozenset({"DS", "IS", "SL", "SS", "UL", "US"})
LIST_VRS: Final = frozenset({"UI"})
MAX_KEY_CHARACTERS: Final = {True: 262144, False: 4096}
"""Longest value of a key, characters: for a list of UIDs, and for any other VR."""
NAME_GROUPS: Final = 3
MAX_NUMBER_CHARACTERS: Final = 32


class InvalidKey(Permanent):
    """A key is too long; the text does not contain the value."""


class Wild(Enum):
    """Wildcards of PS3.4 C.2.2.2.4."""

    ONE = "?"
    MANY = "*"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text with wildcards, as a sequence of literals and wildcards."""

    tokens: tuple[str | Wild, ...]

    @property
    def literal(self) -> str | None:
        """The text itself if it contains no wildcard, else None."""
        if any(isinstance(token, Wild) for token in self.tokens):
            return None
        return "".join(token for token in self.tokens if isinstance(token, str))

    def regex(self, one: str) -> str:
        """Return a regular expression; `one` is the expression for one character."""
        words = {Wild.ONE: one, Wild.MANY: f"{one}*"}
        return "".join(
            words[token] if isinstance(token, Wild) else _escape(token) for token in self.tokens
        )


@dataclass(frozen=True, slots=True)
class Texts:
    """The value is one of these."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Patterns:
    """The value matches one of these."""

    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The value is one of these numbers, in any notation."""

    values: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """The condition for one person name, in comparable text (see `search_text`).

    `anywhere` holds patterns, one of which must match some component group. Otherwise `groups`
    holds, for each queried group, patterns of which one must match this group.
    """

    anywhere: tuple[Pattern, ...] = ()
    groups: tuple[tuple[int, tuple[Pattern, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """The person name matches one of these."""

    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """Some item of the sequence matches all of these, by keyword (C.2.2.2.6)."""

    conditions: tuple[tuple[str, "Condition"], ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """No value matches: the key is not valid for its attribute."""


Condition = Texts | Patterns | Numbers | Dates | Times | Moments | Names | Items | Nothing


def parse(vr: str, text: str) -> Condition | None:
    """Return the condition of a key of this VR, or None if it matches everything.

    Raises:
        InvalidKey: the value is too long.
    """
    text = text.strip(" \0")
    if not text.strip("*"):
        return None
    if len(text) > MAX_KEY_CHARACTERS[vr in LIST_VRS]:
        raise InvalidKey(message("a key is too long"))
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
    """Parse text in which `*` and `?` are wildcards."""
    tokens: list[str | Wild] = []
    for part in re.split(r"([*?])", text):
        token = Wild(part) if part in {"*", "?"} else part
        if token and not (token is Wild.MANY and tokens and tokens[-1] is Wild.MANY):
            tokens.append(token)
    return Pattern(tuple(tokens))


# --- person names ----------------------------------------------------------------------

# Private-use characters stand for wildcards while text is made comparable, so that a
# full-width asterisk, which becomes a plain one, remains a literal character.
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
    """Return patterns that together represent a group; none represents an empty group."""
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
            # Comparable text does not contain this character inside a group.
            tokens.append(token.replace("=", " ") if isinstance(token, str) else token)
    return Pattern(tuple(tokens))


def name_fits(condition: Names, name: str) -> bool:
    """Return whether a stored person name matches; for attributes without a search column."""
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
    """Return whether a text matches, with regard to letter case but not to padding."""
    text = value.strip(" \0")
    if isinstance(condition, Texts):
        return text in condition.values
    return any(_covers(one, text) for one in condition.patterns)


def value_fits(condition: Condition, value: str) -> bool:
    """Return whether a value from a node matches; an unreadable value matches nothing."""
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
    """Return whether a pattern matches a whole text, in bounded time for any pattern."""
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
            # Let the last asterisk match one more character.
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return all(left is Wild.MANY for left in wanted[at:])


def _escape(text: str) -> str:
    """Escape text for a regular expression of both Python and PostgreSQL."""
    return "".join(c if c.isalnum() or not c.isascii() else f"\\{c}" for c in text)


# --- numbers ---------------------------------------------------------------------------


def _numbers(values: list[str]) -> Numbers | Nothing:
    found = tuple(number for number in map(_number, values) if number is not None)
    return Numbers(found) if found else Nothing()


_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?0*\d{1,3})?", re.ASCII)


def _number(value: str) -> Decimal | None:
    """Parse a number, or return None."""
    text = value.strip()
    if len(text) > MAX_NUMBER_CHARACTERS or not _NUMBER.fullmatch(text):
        return None
    return Decimal(text)
