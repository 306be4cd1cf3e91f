"""Studies of some days, in pages: of few days and of many they are the same studies."""

import psycopg
import pytest

from draw_shared.dicom.query.keys import Level
from support import index_rows
from support.suite import all_pages

pytestmark = pytest.mark.integration

DAYS = {"1.1": "20260301", "1.2": "20260302", "1.3": "20260302", "1.4": "20260303", "1.5": ""}


@pytest.fixture(scope="module")
def viewer(shared_api, module_database_url):
    with psycopg.connect(module_database_url) as connection:
        patient = index_rows.insert(connection, Level.PATIENT, {"PatientID": "P1"})
        for study, day in DAYS.items():
            values = {"StudyInstanceUID": study, "StudyDate": day, "modalities": ["CT"]}
            index_rows.insert(connection, Level.STUDY, values, patient)
    return shared_api.of_role("viewer")


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ({"date_from": "2026-03-02", "date_to": "2026-03-03"}, ["1.4", "1.3", "1.2"]),
        ({"date_from": "2026-03-01", "date_to": "2026-03-02"}, ["1.3", "1.2", "1.1"]),
        ({"date_from": "2000-01-01", "date_to": "2026-03-02"}, ["1.3", "1.2", "1.1"]),
        ({"date_from": "2026-03-02", "date_to": "2026-03-03", "modality": "MR"}, []),
        ({"date_to": "2026-03-01"}, ["1.1"]),
    ],
)
def test_pages_of_some_days_have_every_study_once_last_added_first(viewer, days, found):
    pages = all_pages(viewer, "/api/v1/studies", limit=2, **days)
    assert [study["study_instance_uid"] for study in pages] == found
