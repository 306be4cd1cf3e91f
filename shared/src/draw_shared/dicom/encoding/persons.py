"""Identifies the person an object shows by name and birth date, and tells people apart.

Two persons differ if both name and birth date differ. Names that differ only in case, accents,
punctuation, order or completeness are the same, and so are names in different scripts. Another name
with the same birth date is a correction, and so is another birth date with the same name. A
missing value contradicts nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Self

from draw_shared.dicom.encoding.dates import parse_date
from draw_shared.dicom.encoding.search_text import person_name_search_text

MAX_NAME_LENGTH: Final = 512
MAX_SEX_LENGTH: Final = 16
SEPARATOR: Final = "\t"
_BLANKS: Final = re.compile(r"[\t\r\n]")
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, order=True)
class Person:
    """What an object states about its patient; missing values are empty."""

    birth_date: str
    """As ISO 8601."""
    sex: str
    name: str

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Self:
        """Return the person that an object names, from its values by keyword."""
        day = parse_date(texts.get("PatientBirthDate", ""))
        return cls(
            day.isoformat() if day else "",
            _BLANKS.sub(" ", texts.get("PatientSex", "")[:MAX_SEX_LENGTH]),
            _BLANKS.sub(" ", texts.get("PatientName", "")[:MAX_NAME_LENGTH]),
        )

    @classmethod
    def parse(cls, text: str) -> tuple[Self, str]:
        """Parse an entry of `persons` into the person and the patient."""
        birth_date, sex, name, patient = text.split(SEPARATOR, 3)
        return cls(birth_date, sex, name), patient

    @property
    def text(self) -> str:
        """The person in the form of `instances.stated_person`."""
        return SEPARATOR.join((self.birth_date, self.sex, self.name))

    @property
    def name_search(self) -> str:
        """The name in comparable form."""
        return person_name_search_text(self.name)


def are_several(persons: Iterable[Person]) -> bool:
    """Return whether these are several people: two of them differ in name and birth date."""
    known = sorted(
        {(p.birth_date, p.name_search) for p in persons if p.birth_date and p.name_search}
    )
    compared = [(day, _words(name)) for day, name in known]
    return any(
        day != other_day and _are_others(words, other)
        for (day, words), (other_day, other) in combinations(compared, 2)
    )


def _words(name_search: str) -> list[frozenset[str]]:
    return [
        frozenset(_WORD.findall(group.replace("'", ""))) for group in name_search[1:-1].split("=")
    ]


def _are_others(one: list[frozenset[str]], other: list[frozenset[str]]) -> bool:
    """Return whether two names share component groups, none of which is compatible."""
    pairs = [(a, b) for a, b in zip(one, other, strict=False) if a and b]
    return bool(pairs) and not any(a <= b or b <= a for a, b in pairs)
