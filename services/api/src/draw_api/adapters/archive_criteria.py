"""What the criteria of lists of patients and studies mean in SQL.

A word of a search is looked for anywhere when it has a trigram, else where a name begins.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    any_,
    cast,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union,
)
from sqlalchemy.dialects.postgresql import array
from sqlmodel import col

from draw_api.models.archive import PatientCriteria, StudyCriteria
from draw_shared.db import tables
from draw_shared.dicom.encoding.search_text import like_literal, search_text

P: Final = tables.PatientRow
S: Final = tables.StudyRow
N: Final = tables.StatedPersonRow
W: Final = tables.StudyWordsRow
C: Final = tables.InstanceConflictRow

MAX_WORDS: Final = 5
MIN_INFIX_LENGTH: Final = 3
"""Letters of a word that is looked for anywhere: a trigram has three."""
MIN_IDENTIFIER_LENGTH: Final = 4
TYPED: Final = str.maketrans({"^": " ", ",": " ", "\N{RIGHT SINGLE QUOTATION MARK}": "'"})
"""What people type where names have another character."""
PUNCTUATION: Final = re.compile(r"[\W_]+")
EAST_ASIAN: Final = re.compile(r"[\u3005\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]+")
"""Scripts whose names are written without a space between family and given name."""
MAX_UNSPACED: Final = 6
"""Letters of such a name; more are looked for as they are."""
MAX_CONFLICTS: Final = 2000
"""Conflicts among whose studies is searched: the newest ones."""


def patient_conditions(criteria: PatientCriteria, *, near: bool) -> list[ColumnElement[bool]]:
    """Return what patients must be; `near` when few rows are asked, one by one."""
    found = _of_patient(criteria.patient_id, criteria.name, near=near)
    if criteria.ambiguous is not None:
        found.append(col(P.ambiguous) == criteria.ambiguous)
    for number, word in enumerate(sorted(_words(criteria.search), key=len, reverse=True)):
        own = [
            or_(*(col(P.name_search).like(part) for part in _parts(word))),
            col(P.patient_id).ilike(f"%{like_literal(word)}%"),
        ]
        other = or_(*map(col(N.name_search).like, _parts(word)))
        # The longest word finds few; the others are asked of those.
        found.append(_any_person(own, other, near=near or number > 0))
    return found


def _of_patient(patient_id: str, name: str, *, near: bool) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if patient_id:
        found.append(col(P.patient_id).like(f"{like_literal(patient_id)}%"))
    if name:
        found.append(_any_person([has_name(P, name)], has_name(N, name), near=near))
    return found


def _any_person(
    own: Sequence[ColumnElement[bool]], other: ColumnElement[bool], *, near: bool
) -> ColumnElement[bool]:
    """Return whether a patient, or a person whom the patient's objects name, is so.

    Each condition has an index; joined by OR they would often be compared with every row instead.
    """
    if near:
        of_patient = select(literal(1)).where(col(N.patient_pk) == col(P.id), other)
        return or_(*own, of_patient.offset(0).exists())
    patients = [select(col(P.id)).where(one).correlate(None) for one in own]
    return col(P.id).in_(union(*patients, select(col(N.patient_pk)).where(other)))


def has_name(
    whom: type[tables.PatientRow | tables.StatedPersonRow], name: str
) -> ColumnElement[bool]:
    """Return the condition that a name begins so, whatever its accents and letter case."""
    return col(whom.name_search).like(f"={like_literal(search_text(name))}%")


def study_conditions(
    criteria: StudyCriteria, *, near: bool
) -> tuple[list[ColumnElement[bool]], frozenset[Any]]:
    """Return what studies must be, and the tables that this needs; `near` as for patients."""
    found = _of_patient(criteria.patient_id, criteria.patient_name, near=near)
    joined = {P} if found else set[Any]()
    if criteria.patient_name:
        # If the patient is several people, match the person whom the study's own objects name.
        own = exists().where(col(N.study_pk) == col(S.id), has_name(N, criteria.patient_name))
        found.append(or_(not_(col(P.ambiguous)), own))
    exact: tuple[tuple[Any, object], ...] = (
        (S.patient_pk, criteria.patient_key),
        (S.study_instance_uid, criteria.study_instance_uid or None),
        (S.accession_number, criteria.accession_number or None),
    )
    found += [col(column) == value for column, value in exact if value is not None]
    found += _of_study(criteria)
    if searched := _searched(criteria.search):
        found.append(searched[0])
        joined.add(W)
    return found, frozenset(joined)


def _of_study(criteria: StudyCriteria) -> list[ColumnElement[bool]]:
    """Return what the study's own row must have."""
    found: list[ColumnElement[bool]] = []
    if criteria.date_from is not None:
        found.append(col(S.study_date) >= criteria.date_from)
    if criteria.date_to is not None:
        found.append(col(S.study_date) <= criteria.date_to)
    if criteria.modality:
        found.append(col(S.modalities).bool_op("@>")(array([cast(criteria.modality, Text)])))
    if criteria.referring_physician:
        found += [
            or_(*(col(S.referring_physician_search).like(part) for part in _parts(word)))
            for word in _words(criteria.referring_physician)
        ]
    if criteria.held is not None:
        found.append(col(S.held) == criteria.held)
    if criteria.conflicting:
        newest = select(col(C.study_instance_uid)).order_by(col(C.id).desc()).limit(MAX_CONFLICTS)
        found.append(col(S.study_instance_uid) == any_(func.array(newest.scalar_subquery())))
    return found


def _searched(search: str) -> list[ColumnElement[bool]]:
    """Return the condition that a study has all words, or the identifier that they are together."""
    words = _words(search)
    if not words:
        return []
    condition = and_(*map(_has_word, words))
    together = PUNCTUATION.sub("", "".join(words))
    identifier = len(together) >= MIN_IDENTIFIER_LENGTH and any(map(str.isdigit, together))
    if identifier and [together] != words:
        condition = or_(condition, col(W.words).like(_inside(together)))
    return [condition]


def _has_word(word: str) -> ColumnElement[bool]:
    names = [f"% {like_literal(family)} {like_literal(given)}%" for family, given in _names(word)]
    return or_(*map(col(W.words).like, [_inside(word), *names]))


def _names(word: str) -> list[tuple[str, str]]:
    """Return which family and given names a word may be: 山田太郎 is 山田 太郎."""
    if not EAST_ASIAN.fullmatch(word) or len(word) > MAX_UNSPACED:
        return []
    return [(word[:end], word[end:]) for end in range(1, len(word))]


def _inside(word: str) -> str:
    """Return the pattern of a word among others: a short one must begin one.

    A short word has a trigram only with what separates it.
    """
    before = "" if len(word) >= MIN_INFIX_LENGTH else " "
    return f"%{before}{like_literal(word)}%"


def _words(search: str) -> list[str]:
    """Return the words of a search, without name separators and wildcards around them."""
    plain = search_text(search).translate(TYPED)
    words = (word.strip("*") for word in plain.split())
    return list(dict.fromkeys(filter(None, words)))[:MAX_WORDS]


def _parts(word: str) -> list[str]:
    """Return patterns of a word in a name: a short one must start a part.

    A short word has a trigram only with its separator.
    """
    names = [f"%={like_literal(family)}^{like_literal(given)}%" for family, given in _names(word)]
    literal = like_literal(word)
    if len(word) >= MIN_INFIX_LENGTH:
        return [f"%{literal}%", *names]
    return [f"%={literal}%", f"%^{literal}%", *names]
