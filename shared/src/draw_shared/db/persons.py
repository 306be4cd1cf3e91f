"""Maintains the index of patients whose objects name several persons.

`series.persons` and `studies.persons` count the persons that current objects name. If the
objects of a patient have several names, `stated_persons` has a row for each person of each study,
by which queries find it. Several persons make the patient ambiguous; each study is then answered
with the person that its own objects name.

Writers take turns (`draw_shared.db.feed`); the caller holds the turn.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import Connection, text

from draw_shared.db.sources import source_name
from draw_shared.dicom.encoding.persons import MAX_NAME_LENGTH, Person, are_several
from draw_shared.dicom.encoding.search_text import bounded_search_text

MAX_PERSONS: Final = 500
"""Limit for one patient; the counting statements keep as many for a series and a study."""

COUNT_PATIENTS: Final = text(
    """
    UPDATE patients p SET study_count = c.studies, series_count = c.series,
        instance_count = c.number, size_bytes = c.size, updated_at = now()
    FROM (SELECT w.id, count(s.id) AS studies, coalesce(sum(s.series_count), 0) AS series,
            coalesce(sum(s.instance_count), 0) AS number, coalesce(sum(s.size_bytes), 0) AS size
        FROM patients w LEFT JOIN studies s ON s.patient_pk = w.id
        WHERE w.id = ANY(:patients) GROUP BY w.id) c
    WHERE c.id = p.id
    """
)
DROP_EMPTY_PATIENTS: Final = text(
    "DELETE FROM patients WHERE id = ANY(:patients) AND study_count = 0"
)
# Studies that an earlier release indexed name the person in their patient's row.
ADOPT: Final = text(
    """
    UPDATE studies s SET persons = ARRAY[concat(p.birth_date, chr(9), left(p.sex, 16), chr(9),
        translate(p.name, chr(9) || chr(10) || chr(13), '   '), chr(9))]
    FROM patients p WHERE p.id = s.patient_pk AND p.id = ANY(:patients) AND s.persons = '{}'
    """
)
SAID: Final = text(
    """
    SELECT p.id, p.ambiguous, p.name_search, p.patient_id || CASE WHEN p.issuer_of_patient_id = ''
            THEN '' ELSE '^^^' || p.issuer_of_patient_id END AS patient,
        EXISTS (SELECT FROM stated_persons n WHERE n.patient_pk = p.id) AS kept,
        ARRAY(SELECT DISTINCT k.said FROM studies s, unnest(s.persons) AS k (said)
            WHERE s.patient_pk = p.id ORDER BY k.said LIMIT :most) AS said
    FROM patients p WHERE p.id = ANY(:patients)
    """
)
STUDIES: Final = text(
    "SELECT id, patient_pk, persons FROM studies WHERE patient_pk = ANY(:patients)"
)
FORGET: Final = text(
    """
    DELETE FROM stated_persons n WHERE n.patient_pk = ANY(:patients) AND NOT EXISTS (
        SELECT FROM jsonb_populate_recordset(NULL::stated_persons, CAST(:rows AS jsonb)) k
        WHERE k.patient_pk = n.patient_pk AND k.study_pk = n.study_pk AND k.name = n.name
            AND k.birth_date IS NOT DISTINCT FROM n.birth_date AND k.sex = n.sex)
    """
)
# OFFSET 0 prevents the planner from reading the whole table for few rows.
KEEP: Final = text(
    """
    INSERT INTO stated_persons (patient_pk, study_pk, name, name_search, birth_date, sex)
    SELECT k.patient_pk, k.study_pk, k.name, k.name_search, k.birth_date, k.sex
    FROM jsonb_populate_recordset(NULL::stated_persons, CAST(:rows AS jsonb)) k
    WHERE NOT EXISTS (SELECT FROM stated_persons n WHERE n.study_pk = k.study_pk
        AND n.name = k.name AND n.birth_date IS NOT DISTINCT FROM k.birth_date
        AND n.sex = k.sex OFFSET 0)
    """
)
MARK: Final = text(
    "UPDATE patients SET ambiguous = :ambiguous, updated_at = now() WHERE id = ANY(:patients)"
)
EARLIEST: Final = text(
    """
    SELECT i.stated_person, i.received_at, i.sop_instance_uid,
        encode(i.content_sha256, 'hex') AS content_sha256
    FROM studies s JOIN series r ON r.study_pk = s.id JOIN instances i ON i.series_pk = r.id
    WHERE s.patient_pk = :patient AND i.stated_patient IN ('', :stated)
        AND split_part(i.stated_person, chr(9), 3) <> ''
    ORDER BY i.received_at, i.sop_instance_uid LIMIT 1
    """
)
RENAME: Final = text(
    """
    UPDATE patients SET name = :name, name_search = :search,
        birth_date = CAST(NULLIF(:birth_date, '') AS date), sex = :sex,
        attributes = attributes - 'PatientBirthDate', updated_at = now(),
        sources = sources || jsonb_build_object('PatientName', CAST(:source AS text),
            'PatientBirthDate', CAST(:source AS text), 'PatientSex', CAST(:source AS text))
    WHERE id = :patient
    """
)


def recount(connection: Connection, patients: Sequence[int]) -> None:
    """Recount the studies and persons of patients after a deletion."""
    connection.execute(COUNT_PATIENTS, {"patients": list(patients)})
    connection.execute(DROP_EMPTY_PATIENTS, {"patients": list(patients)})
    adopt(connection, patients)
    _rename(connection, patients)
    review(connection, patients)


def adopt(connection: Connection, patients: Sequence[int]) -> None:
    """Record the persons that studies of earlier releases name, before their patients change."""
    connection.execute(ADOPT, {"patients": list(patients)})


def review(connection: Connection, patients: Iterable[int]) -> set[int]:
    """Write the persons named under these patients; return the newly ambiguous patients."""
    said = connection.execute(SAID, {"patients": list(patients), "most": MAX_PERSONS}).all()
    named = {row.id: _persons(row.said, row.patient) for row in said}
    several = {row.id: row for row in said if len(_names(named[row.id])) > 1}
    changing = [row.id for row in said if row.id in several or row.kept]
    if changing:
        rows = to_json(_rows(connection, several)).decode()
        connection.execute(FORGET, {"patients": changing, "rows": rows})
        connection.execute(KEEP, {"rows": rows})
    ambiguous = {key for key in several if are_several(named[key])}
    before = {row.id for row in said if row.ambiguous}
    for state, found in ((True, ambiguous - before), (False, before - ambiguous)):
        if found:
            connection.execute(MARK, {"patients": sorted(found), "ambiguous": state})
    return ambiguous - before


def _rename(connection: Connection, patients: Sequence[int]) -> None:
    """Rename patients whose name was deleted with their objects."""
    for row in connection.execute(SAID, {"patients": list(patients), "most": MAX_PERSONS}).all():
        names = {bounded_search_text(name) for name in _names(_persons(row.said, row.patient))}
        if not names or row.name_search in names:
            continue
        values = {"patient": row.id, "stated": row.patient}
        first = connection.execute(EARLIEST, values).first()
        if first is None:
            continue
        person, _ = Person.parse(f"{first.stated_person}\t")
        source = source_name(first.received_at, first.sop_instance_uid, first.content_sha256)
        connection.execute(
            RENAME,
            {
                "patient": row.id,
                "name": person.name[:MAX_NAME_LENGTH],
                "search": bounded_search_text(person.name_search),
                "birth_date": person.birth_date,
                "sex": person.sex,
                "source": source,
            },
        )


def _persons(said: Iterable[str], patient: str) -> list[Person]:
    """Return the persons that objects name; objects that name another patient are ignored."""
    found = (Person.parse(entry) for entry in said)
    return [person for person, stated in found if stated in {"", patient}]


def _names(persons: Iterable[Person]) -> set[str]:
    return {person.name_search for person in persons} - {""}


def _rows(connection: Connection, patients: dict[int, Any]) -> list[dict[str, Any]]:
    """Return the rows these patients need: for each study, the persons with a name."""
    rows: defaultdict[tuple[int, int], set[Person]] = defaultdict(set)
    if not patients:
        return []
    for study in connection.execute(STUDIES, {"patients": sorted(patients)}):
        persons = _persons(study.persons, patients[study.patient_pk].patient)
        named = {person for person in persons if person.name_search}
        rows[study.patient_pk, study.id] = named or set(sorted(persons)[-1:])
    return [
        {
            "patient_pk": patient,
            "study_pk": study,
            "name": person.name,
            "name_search": person.name_search,
            "birth_date": person.birth_date or None,
            "sex": person.sex,
        }
        for (patient, study), persons in rows.items()
        for person in sorted(persons)
    ]
