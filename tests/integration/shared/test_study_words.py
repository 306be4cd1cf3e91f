"""The words of each study are those of its rows, whatever was done to them and in what order."""

import pytest
from sqlalchemy import text

from draw_shared.dicom.query.keys import Level
from support import index_rows

pytestmark = pytest.mark.integration

KEPT = "SELECT study_pk, words FROM study_words ORDER BY study_pk"
MADE = "SELECT id, words_of_study(id) FROM studies ORDER BY id"
TYPED = (
    "muller", "ida", "山田", "太郎", "ab-12", "ab123", "2026/000-77", "202600077", "ct", "thorax",
    "nativ", "doe", "jo",
)  # fmt: skip
PERSON = """
    INSERT INTO stated_persons (patient_pk, study_pk, name, name_search)
    SELECT patient_pk, id, 'Doe^Jo', '=doe^jo=' FROM studies WHERE study_instance_uid <> '1.2'
"""


def test_a_study_has_the_words_people_type(database):
    with database.engine.begin() as connection:
        driver = connection.connection.driver_connection
        named = {"PatientID": "AB-12 3", "PatientName": "Müller^Ida=山田^太郎"}
        patient = index_rows.insert(driver, Level.PATIENT, named)
        values = {"StudyInstanceUID": "1.1", "AccessionNumber": "2026/000-77"}
        index_rows.insert(
            driver, Level.STUDY, values | {"StudyDescription": "CT Thorax, nativ"}, patient
        )
        connection.execute(text(PERSON))
        [words] = connection.execute(text("SELECT words FROM study_words")).scalars()
    for word in TYPED:
        assert f" {word}" in words


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE patients SET name_search = '=other^name=' WHERE patient_id <> 'P1'",
        "UPDATE patients SET patient_id = 'Q' || patient_id, study_count = 7",
        "UPDATE studies SET patient_pk = (SELECT max(id) FROM patients)",
        "UPDATE studies SET accession_number = 'A' || id, description_search = 'knee'",
        "UPDATE stated_persons SET name_search = '=else='",
        "UPDATE stated_persons SET study_pk = (SELECT min(id) FROM studies)",
        "DELETE FROM stated_persons WHERE study_pk > (SELECT min(id) FROM studies)",
        "DELETE FROM studies WHERE study_instance_uid = '1.3'",
        "DELETE FROM patients WHERE patient_id = 'P2'",
        "TRUNCATE patients CASCADE",
    ],
)
def test_words_follow_the_rows(database, change):
    with database.engine.begin() as connection:
        driver = connection.connection.driver_connection
        for number in range(1, 5):
            values = {"PatientID": f"P{number}", "PatientName": f"Smith{number}^J"}
            patient = index_rows.insert(driver, Level.PATIENT, values)
            index_rows.insert(driver, Level.STUDY, {"StudyInstanceUID": f"1.{number}"}, patient)
        connection.execute(text(PERSON))
        before = connection.execute(text(KEPT)).all()
        assert before == connection.execute(text(MADE)).all()
        connection.execute(text(change))
        after = connection.execute(text(KEPT)).all()
        assert after == connection.execute(text(MADE)).all()
        assert after != before
