"""One field finds studies by whatever people type; orders and pages have every study once."""

import base64
import json

import psycopg
import pytest

from draw_api.adapters import archive_queries
from draw_shared.dicom.query.keys import Level
from support import index_rows
from support.suite import all_pages

pytestmark = pytest.mark.integration

PATIENTS = {
    "smith": {"PatientID": "MRN-100234", "PatientName": "Smith^John^Paul"},
    "jones": {"PatientID": "0077", "PatientName": "Jones^Smithy"},
    "yamada": {"PatientID": "J7", "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    "müller": {"PatientID": "M 1", "PatientName": "Müller^Änne"},
    "long": {"PatientID": "L1", "PatientName": "ﻣﺤﻤﺪ" + "é\N{COMBINING ACUTE ACCENT}" * 290 + "^Z"},
    "none": {"PatientID": "100%_"},
}
STUDIES = {
    "1.1": ("smith", "20260301", "A-2026/0001", "Thorax without contrast", 50),
    "1.2": ("jones", "20260302", "20260002", "Knee left", 10),
    "1.3": ("yamada", "", "", "Follow-up, 5 o'clock", 30),
    "1.4": ("müller", "20260302", "B 77", "", 20),
    "1.5": ("long", "20260201", "", "Thorax " + "x" * 1500, 40),
    "1.6": ("none", "19991231", "", "thorax, \\ native", 60),
}


@pytest.fixture(scope="module")
def viewer(shared_api, module_database_url):
    with psycopg.connect(module_database_url) as connection:
        keys = {
            name: index_rows.insert(connection, Level.PATIENT, values)
            for name, values in PATIENTS.items()
        }
        for uid, (patient, day, accession, description, size) in STUDIES.items():
            values = {
                "StudyInstanceUID": uid, "StudyDate": day, "AccessionNumber": accession,
                "StudyDescription": description, "size_bytes": size, "modalities": ["CT"],
                "held": uid == "1.4", "ReferringPhysicianName": f"Dr^{patient}",
            }  # fmt: skip
            index_rows.insert(connection, Level.STUDY, values, keys[patient])
    return shared_api.of_role("viewer")


@pytest.fixture(params=[2000, 1])
def window(request, monkeypatch):
    """As much is read before indexes are asked as usual, or next to nothing."""
    monkeypatch.setattr(archive_queries, "WINDOW", request.param)


def found(viewer, **asked):
    pages = all_pages(viewer, "/api/v1/studies", limit=2, **asked)
    return [study["study_instance_uid"] for study in pages]


TYPED = {
    "smith j": ["1.2", "1.1"], "Smith, J": ["1.2", "1.1"], "john smith": ["1.1"],
    "paul": ["1.1"], "mith": ["1.2", "1.1"], "s": ["1.2", "1.1"], "山田": ["1.3"],
    "太郎": ["1.3"], "山田太郎": ["1.3"], "やまだたろう": ["1.3"], "田太": [], "山太郎": [],
    "smith*": ["1.2", "1.1"], "*mith* John*": ["1.1"],
    "*": ["1.6", "1.5", "1.4", "1.3", "1.2", "1.1"],
    "o\N{RIGHT SINGLE QUOTATION MARK}clock": ["1.3"],
    "yamada tarou": ["1.3"], "たろう": ["1.3"], "muller": ["1.4"],
    "MÜLLER": ["1.4"], "anne": ["1.4"], "100234": ["1.1"], "mrn100234": ["1.1"],
    "MRN 100-234": ["1.1"], "a20260001": ["1.1"], "A 2026 0001": ["1.1"],
    "a-2026/0001": ["1.1"], "20260002": ["1.2"], "2026-0002": ["1.2"], "b77": ["1.4"],
    "b 77": ["1.4"],
    "thorax": ["1.6", "1.5", "1.1"], "thorax z": ["1.5"], "thorax native": ["1.6"],
    "محمد": ["1.5"], "100%": ["1.6"], "0_": [], "%": [], "\\": ["1.6"], "thorax knee": [],
}  # fmt: skip


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.usefixtures("window")
def test_one_field_finds_what_people_type(viewer, typed):
    assert found(viewer, search=typed) == TYPED[typed]


ORDERS = {
    "received": ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"],
    "study_date": ["1.3", "1.6", "1.5", "1.1", "1.2", "1.4"],
    "patient": ["1.6", "1.2", "1.4", "1.1", "1.3", "1.5"],
    "description": ["1.4", "1.3", "1.2", "1.1", "1.5", "1.6"],
    "size": ["1.2", "1.4", "1.3", "1.5", "1.1", "1.6"],
}


@pytest.mark.parametrize("sort", ORDERS)
@pytest.mark.usefixtures("window")
def test_each_order_has_every_study_once_in_both_directions(viewer, sort):
    assert found(viewer, sort=sort, order="asc") == ORDERS[sort]
    assert found(viewer, sort=sort, order="desc") == ORDERS[sort][::-1]
    thorax = [uid for uid in ORDERS[sort] if "horax" in STUDIES[uid][3]]
    assert found(viewer, sort=sort, order="asc", search="thorax") == thorax


@pytest.mark.usefixtures("window")
def test_other_filters_go_with_them(viewer):
    assert found(viewer, held=True) == ["1.4"]
    assert found(viewer, held=False, search="thorax", date_from="2026-02-01") == ["1.5", "1.1"]
    assert found(viewer, referring_physician="yam") == ["1.3"]
    assert found(viewer, conflicting=True) == []
    assert found(viewer, patient_name="smi") == ["1.1"]
    assert found(viewer, search="smith", modality="MR") == []


@pytest.mark.usefixtures("window")
def test_patients_are_found_by_parts_of_names_and_identifiers(viewer):
    def patients(**asked):
        return [
            one["patient_id"] for one in all_pages(viewer, "/api/v1/patients", limit=2, **asked)
        ]

    assert patients(search="smi") == ["0077", "MRN-100234"]
    assert patients(search="j smith") == ["0077", "MRN-100234"]
    assert patients(search="100") == ["100%_", "MRN-100234"]
    assert patients(search="山田") == patients(search="山田太郎") == ["J7"]
    assert patients(search="山太郎") == []
    by_name = patients(sort="patient")
    assert by_name == ["100%_", "0077", "M 1", "MRN-100234", "J7", "L1"]
    assert patients(sort="patient", order="desc") == by_name[::-1]


def cursor(*keys):
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


@pytest.mark.parametrize("sort", ORDERS)
def test_a_cursor_survives_its_study_and_a_foreign_one_is_refused(viewer, sort):
    def ask(*keys):
        asked = {"sort": sort, "cursor": cursor(*keys)}
        return viewer.get("/api/v1/studies", params=asked).status_code

    if sort == "received":
        assert ask(10**9) == 200
    gone = (10**9, 0, 0, 0, 0)
    kept = {"study_date": "2026-02-01 00:00:00", "size": "20", "received": None}.get(sort, "knee")
    if kept:
        assert ask(kept, *gone) == 200
    for foreign in ((), ("x",), (1.5, 1), ("x", "y"), ("x", 1), ("2026-W01-1T00:00:00", *gone, 3)):
        assert ask(*foreign) == 422
    if sort in {"study_date", "size"}:
        for foreign in ("", "x", "2026-02-30 00:00:00", "infinity", "2026-W01-1 00:00:0", "٣"):
            assert ask(foreign, *gone) == 422


@pytest.mark.parametrize("sort", ORDERS)
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.usefixtures("window")
def test_a_page_goes_on_where_it_ended_though_its_last_studies_are_deleted(
    viewer, module_database_url, sort, order
):
    uids = [f"9.{number}" for number in range(8)]
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        patient = index_rows.insert(connection, Level.PATIENT, {"PatientID": "SAME"})
        for uid in uids:
            values = {
                "StudyInstanceUID": uid, "StudyDate": "20260401", "size_bytes": 5,
                "StudyDescription": "Quadrature of the same long description",
            }  # fmt: skip
            index_rows.insert(connection, Level.STUDY, values, patient)
        asked = {"sort": sort, "order": order, "search": "quadrature", "limit": 3}
        seen = []
        while True:
            answer = viewer.get("/api/v1/studies", params=asked).json()
            page = [study["study_instance_uid"] for study in answer["items"]]
            seen += page
            if not answer["next_cursor"]:
                break
            asked["cursor"] = answer["next_cursor"]
            gone = "DELETE FROM studies WHERE study_instance_uid = ANY(%s)"
            connection.execute(gone, (page[1:],))
        assert seen == (uids if order == "asc" else uids[::-1])
        connection.execute("DELETE FROM studies WHERE patient_pk = %s", (patient,))
        connection.execute("DELETE FROM patients WHERE id = %s", (patient,))
