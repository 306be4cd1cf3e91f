"""The sums over the index are those of its rows, whatever was done to them."""

import pytest
from sqlalchemy import text

from draw_shared.dicom.query.keys import Level
from support import index_rows

pytestmark = pytest.mark.integration

ADDED_UP = """
    SELECT 'studies' AS kind, '' AS name, count(*), sum(instance_count), sum(size_bytes)
    FROM studies HAVING count(*) > 0
    UNION ALL SELECT 'held', '', count(*), sum(instance_count), sum(size_bytes)
    FROM studies WHERE held HAVING count(*) > 0
    UNION ALL SELECT 'modality', modality, count(*), sum(instance_count), sum(size_bytes)
    FROM series GROUP BY modality ORDER BY 1, 2
"""
KEPT = """
    SELECT kind, name, number, instances, size_bytes FROM index_totals
    WHERE (number, instances, size_bytes) <> (0, 0, 0) ORDER BY 1, 2
"""


def add_study(connection, number):
    patient = index_rows.insert(connection, Level.PATIENT, {"PatientID": f"P{number}"})
    values = {"StudyInstanceUID": f"1.{number}", "instance_count": 5, "size_bytes": 50}
    study = index_rows.insert(connection, Level.STUDY, values, patient)
    for place, modality in enumerate(("CT", "RTPLAN")):
        values = {"SeriesInstanceUID": f"1.{number}.{place}", "Modality": modality}
        values |= {"instance_count": 1 + place, "size_bytes": 10 * number}
        index_rows.insert(connection, Level.SERIES, values, study)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE studies SET held = id % 2 = 0",
        "UPDATE studies SET instance_count = 7, size_bytes = size_bytes + id, held = true",
        "UPDATE series SET modality = 'MR', instance_count = 3 WHERE modality = 'CT'",
        "DELETE FROM studies WHERE study_instance_uid = '1.2'",
        "DELETE FROM patients WHERE patient_id <> 'P1'",
        "DELETE FROM studies",
        "UPDATE studies SET stable_at = now()",
    ],
)
def test_sums_are_kept(database, change):
    with database.engine.begin() as connection:
        driver = connection.connection.driver_connection
        for number in range(1, 5):
            add_study(driver, number)
        connection.execute(text("UPDATE studies SET held = true WHERE study_instance_uid = '1.3'"))
        connection.execute(text(change))
        added_up = [tuple(row) for row in connection.execute(text(ADDED_UP))]
        assert [tuple(row) for row in connection.execute(text(KEPT))] == added_up
