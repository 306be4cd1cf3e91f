"""Reads patients, studies, series and instances from PostgreSQL.

Lists use keyset pagination on the identity column: every page costs the same, however far down.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Executable,
    Label,
    RowMapping,
    Select,
    Text,
    and_,
    any_,
    cast,
    exists,
    func,
    not_,
    or_,
    select,
    union,
)
from sqlalchemy.dialects.postgresql import array
from sqlmodel import Session, col
from typing_extensions import override

from draw_api.models.archive import (
    Instance,
    Patient,
    PatientCriteria,
    Series,
    StoredObject,
    Study,
    StudyCriteria,
    StudyPatient,
)
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.ports.archive import ArchiveRepository
from draw_shared.contracts.instance import instance_event_id
from draw_shared.db import tables
from draw_shared.dicom.encoding.search_text import like_literal, search_text

P: Final = tables.PatientRow
S: Final = tables.StudyRow
R: Final = tables.SeriesRow
I: Final = tables.InstanceRow  # noqa: E741 - P, S, R, I as in the levels of PS3.4 C.6
N: Final = tables.StatedPersonRow

MAX_WORDS: Final = 5
MIN_INFIX_LENGTH: Final = 3
"""Letters of a word that is looked for anywhere: a trigram has three."""
MAX_RARE: Final = 10_000
"""With fewer matching studies, all are examined."""
FEW_DAYS: Final = timedelta(days=31)
MAX_PERSONS: Final = 10
NOBODY: Final = {"name": "", "birth_date": None, "sex": ""}

PATIENT_COLUMNS: Final[tuple[Any, ...]] = (
    P.id, P.patient_id, P.issuer_of_patient_id, P.name, P.birth_date, P.sex, P.ambiguous,
    P.study_count, P.series_count, P.instance_count, P.size_bytes, P.updated_at,
)  # fmt: skip
STUDY_COLUMNS: Final[tuple[Any, ...]] = (
    S.id, S.study_instance_uid, S.study_date, S.study_time, S.accession_number, S.study_id,
    S.description, S.referring_physician, S.modalities, S.series_count, S.instance_count,
    S.size_bytes, S.held, S.last_received_at, S.stable_at, S.patient_pk,
    P.patient_id, P.issuer_of_patient_id, P.name, P.birth_date, P.sex, P.ambiguous,
)  # fmt: skip
SERIES_COLUMNS: Final[tuple[Any, ...]] = (
    R.id, R.series_instance_uid, S.study_instance_uid, R.modality, R.series_number,
    R.description, R.body_part_examined, R.performed_date, R.performed_time,
    R.instance_count, R.size_bytes, R.last_received_at, R.stable_at,
)  # fmt: skip
INSTANCE_COLUMNS: Final[tuple[Any, ...]] = (
    I.id, I.sop_instance_uid, R.series_instance_uid, S.study_instance_uid, I.sop_class_uid,
    I.transfer_syntax_uid, I.instance_number, I.size_bytes, I.content_sha256, I.received_at,
    I.association_id, I.calling_ae, I.peer_address, I.header_damage,
)  # fmt: skip


class PostgresArchiveRepository(ArchiveRepository):
    """The index, read within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def patients(self, criteria: PatientCriteria, cursor: str | None, limit: int) -> Page[Patient]:
        query = _matching_patients(_patients(criteria.name), criteria.patient_id, criteria.name)
        if criteria.ambiguous is not None:
            query = query.where(col(P.ambiguous) if criteria.ambiguous else not_(col(P.ambiguous)))
        query = query.order_by(col(P.id).desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(col(P.id) < _key(cursor))
        return page_of(
            [(_cursor(row), Patient.model_validate(row)) for row in self._rows(query)], limit
        )

    @override
    def patient(self, patient_key: int) -> Patient | None:
        row = self._row(_patients().where(col(P.id) == patient_key))
        return None if row is None else Patient.model_validate(row)

    @override
    def studies(self, criteria: StudyCriteria, cursor: str | None, limit: int) -> Page[Study]:
        last_first = col(S.id).desc()
        if _few_days(criteria):
            # In one statement with the order, PostgreSQL would rather read all studies backwards
            # until it has a page.
            asked = self._searched(_matching_studies(_study_ids(), criteria), criteria.search)
            few = asked.cte("few").prefix_with("MATERIALIZED")
            page = select(few.c.id).order_by(few.c.id.desc()).limit(limit + 1)
            if cursor is not None:
                page = page.where(few.c.id < _key(cursor))
            query = _studies(criteria.patient_name).where(col(S.id).in_(page)).order_by(last_first)
        else:
            query = _matching_studies(_studies(criteria.patient_name), criteria)
            query = self._searched(query, criteria.search)
            query = query.order_by(last_first).limit(limit + 1)
            if cursor is not None:
                query = query.where(col(S.id) < _key(cursor))
        return page_of([(_cursor(row), _study(row)) for row in self._rows(query)], limit)

    def _searched(self, query: Select[Any], search: str) -> Select[Any]:
        """Add the search words.

        A rare word is looked up in its indexes; with words that are common only, studies are
        read from the last one back until there is a page.
        """
        words = _words(search)
        for word in sorted(words, key=len, reverse=True)[:1]:
            found = union(
                *(
                    select(place.where(condition).limit(MAX_RARE).subquery())
                    for place, condition in _places(word)
                )
            )
            ids = self._connection.execute(found).scalars().all()
            if len(ids) < MAX_RARE:
                words.remove(word)
                query = query.where(col(S.id) == any_(cast(list(ids), ARRAY(BigInteger))))
        return query.where(*map(_has, words))

    @override
    def study(self, study_instance_uid: str) -> Study | None:
        query = _studies().where(col(S.study_instance_uid) == study_instance_uid)
        row = self._row(query)
        return None if row is None else _study(row)

    @override
    def series(self, study_instance_uid: str, cursor: str | None, limit: int) -> Page[Series]:
        query = _series().where(col(S.study_instance_uid) == study_instance_uid)
        query = query.order_by(col(R.id)).limit(limit + 1)
        if cursor is not None:
            query = query.where(col(R.id) > _key(cursor))
        return page_of(
            [(_cursor(row), Series.model_validate(row)) for row in self._rows(query)], limit
        )

    @override
    def one_series(self, series_instance_uid: str) -> Series | None:
        query = _series().where(col(R.series_instance_uid) == series_instance_uid)
        row = self._row(query)
        return None if row is None else Series.model_validate(row)

    @override
    def instances(self, series_instance_uid: str, cursor: str | None, limit: int) -> Page[Instance]:
        query = (
            _instances()
            .where(col(R.series_instance_uid) == series_instance_uid)
            .order_by(col(I.id))
            .limit(limit + 1)
        )
        if cursor is not None:
            query = query.where(col(I.id) > _key(cursor))
        return page_of([(_cursor(row), _instance(row)) for row in self._rows(query)], limit)

    @override
    def instance(self, sop_instance_uid: str) -> Instance | None:
        row = self._row(_instances().where(col(I.sop_instance_uid) == sop_instance_uid))
        return None if row is None else _instance(row)

    @override
    def stored_object(self, sop_instance_uid: str) -> StoredObject | None:
        query = (
            select(col(S.study_instance_uid), col(I.path), col(I.header_damage))
            .join_from(I, R, col(R.id) == col(I.series_pk))
            .join(S, col(S.id) == col(R.study_pk))
            .where(col(I.sop_instance_uid) == sop_instance_uid)
        )
        row = self._row(query)
        if row is None:
            return None
        return StoredObject(sop_instance_uid, **row)

    def _rows(self, query: Executable) -> Sequence[RowMapping]:
        return self._connection.execute(query).mappings().all()

    def _row(self, query: Executable) -> RowMapping | None:
        return self._connection.execute(query).mappings().first()


def _matching_patients(query: Select[Any], patient_id: str, name: str) -> Select[Any]:
    if patient_id:
        query = query.where(col(P.patient_id).like(f"{like_literal(patient_id)}%"))
    if name:
        others = select(col(N.patient_pk)).where(_has_name(N, name)).scalar_subquery()
        query = query.where(or_(_has_name(P, name), col(P.id) == any_(func.array(others))))
    return query


def _has_name(
    whom: type[tables.PatientRow | tables.StatedPersonRow], name: str
) -> ColumnElement[bool]:
    return col(whom.name_search).like(f"={like_literal(search_text(name))}%")


def _persons(of_whom: ColumnElement[bool], name: str) -> Label[Any]:
    """Return the persons whom objects name: first those with this name, then the row's."""
    order: list[Any] = [not_(_has_name(N, name))] if name else []
    order += [col(N.name_search) != col(P.name_search), col(N.name_search), col(N.birth_date)]
    person = func.jsonb_build_object(
        "name", func.min(N.name), "birth_date", N.birth_date, "sex", func.max(N.sex)
    )
    found = select(person).where(of_whom).group_by(col(N.name_search), col(N.birth_date))
    found = found.order_by(*order).limit(MAX_PERSONS).correlate(P, S)
    return func.array(found.scalar_subquery()).label("persons")


def _matching_studies(query: Select[Any], criteria: StudyCriteria) -> Select[Any]:
    if criteria.patient_id or criteria.patient_name:
        query = _matching_patients(query, criteria.patient_id, criteria.patient_name)
    if criteria.patient_name:
        # If the patient is several people, match the person whom the study's own objects name.
        own = exists().where(col(N.study_pk) == col(S.id), _has_name(N, criteria.patient_name))
        query = query.where(or_(not_(col(P.ambiguous)), own))
    exact: tuple[tuple[Any, object], ...] = (
        (S.patient_pk, criteria.patient_key),
        (S.study_instance_uid, criteria.study_instance_uid or None),
        (S.accession_number, criteria.accession_number or None),
    )
    query = query.where(*(col(column) == value for column, value in exact if value is not None))
    if criteria.date_from is not None:
        query = query.where(col(S.study_date) >= criteria.date_from)
    if criteria.date_to is not None:
        query = query.where(col(S.study_date) <= criteria.date_to)
    if criteria.modality:
        query = query.where(col(S.modalities).bool_op("@>")(array([cast(criteria.modality, Text)])))
    return query


def _words(search: str) -> list[str]:
    """Return the words of a search, without name separators."""
    return list(dict.fromkeys(search_text(search).replace("^", " ").replace(",", " ").split()))[
        :MAX_WORDS
    ]


def _parts(word: str) -> list[str]:
    """Return patterns of a word in a name: a short one must start a part.

    A short word has a trigram only with its separator.
    """
    literal = like_literal(word)
    if len(word) >= MIN_INFIX_LENGTH:
        return [f"%{literal}%"]
    return [f"%={literal}%", f"%^{literal}%"]


def _places(word: str) -> list[tuple[Select[Any], ColumnElement[bool]]]:
    """Return, for each place of a word, the studies and an indexed condition."""
    inside = f"%{like_literal(word)}%"
    parts = _parts(word)
    with_patient = select(col(S.id)).join(P, col(P.id) == col(S.patient_pk))
    found = [
        (with_patient, or_(*(col(P.name_search).like(part) for part in parts))),
        (select(col(N.study_pk)), or_(*(col(N.name_search).like(part) for part in parts))),
    ]
    if len(word) >= MIN_INFIX_LENGTH:
        found += [
            (with_patient, col(P.patient_id).ilike(inside)),
            (select(col(S.id)), col(S.accession_number).ilike(inside)),
            (select(col(S.id)), col(S.description_search).like(inside)),
        ]
    return found


def _has(word: str) -> ColumnElement[bool]:
    """Return whether a study, joined to its patient, has a word in one of these places."""
    (_, named), (_, stated), *others = _places(word)
    of_study = exists().where(col(N.study_pk) == col(S.id), stated)
    return or_(named, *(condition for _, condition in others), of_study)


def _few_days(criteria: StudyCriteria) -> bool:
    """Return whether the range has so few days that all its studies can be examined."""
    if criteria.date_from is None:
        return False
    end = criteria.date_to or datetime.now(UTC).date()
    return end - criteria.date_from <= FEW_DAYS


def _patients(name: str = "") -> Select[Any]:
    named = col(N.name_search) != ""
    of_the_patient = and_(col(P.ambiguous), col(N.patient_pk) == col(P.id), named)
    return select(*PATIENT_COLUMNS, _persons(of_the_patient, name))


def _study_ids() -> Select[Any]:
    return select(col(S.id)).join_from(S, P, col(P.id) == col(S.patient_pk))


def _studies(patient_name: str = "") -> Select[Any]:
    persons = _persons(col(N.study_pk) == col(S.id), patient_name)
    return select(*STUDY_COLUMNS, persons).join_from(S, P, col(P.id) == col(S.patient_pk))


def _series() -> Select[Any]:
    return select(*SERIES_COLUMNS).join_from(R, S, col(S.id) == col(R.study_pk))


def _instances() -> Select[Any]:
    return (
        select(*INSTANCE_COLUMNS)
        .join_from(I, R, col(R.id) == col(I.series_pk))
        .join(S, col(S.id) == col(R.study_pk))
    )


def _study(row: RowMapping) -> Study:
    shown = (row["persons"] or [NOBODY])[0] if row["ambiguous"] else {}
    named = [person for person in row["persons"] if person["name"]]
    patient = StudyPatient.model_validate(
        {**row, **shown, "persons": named, "id": row["patient_pk"]}
    )
    return Study.model_validate({**row, "patient": patient})


def _instance(row: RowMapping) -> Instance:
    digest = row["content_sha256"].hex()
    event_id = instance_event_id(row["sop_instance_uid"], digest)
    return Instance.model_validate({**row, "content_sha256": digest, "event_id": event_id})


def _cursor(row: RowMapping) -> str:
    return encode_cursor(row["id"])


def _key(cursor: str) -> int:
    (key,) = decode_cursor(cursor, (int,))
    return int(key)
