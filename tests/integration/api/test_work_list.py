"""The work list of studies, and what it leads to: days, orders and pages are those of the page."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

import psycopg
import pytest

from draw_shared.dicom.query.keys import Level
from support import index_rows

pytestmark = pytest.mark.integration

# There it is never the same day.
FIRST, LAST = "Pacific/Kiritimati", "Etc/GMT+12"
SERIES = 250


def today(zone):
    return datetime.now(ZoneInfo(zone)).strftime("%Y%m%d")


@pytest.fixture(scope="module")
def operator(shared_api, module_database_url):
    with psycopg.connect(module_database_url) as connection:
        patient = index_rows.insert(connection, Level.PATIENT, {"PatientID": "P1"})
        for study, zone, size in (("1.1", FIRST, 7), ("1.2", LAST, 9), ("1.3", LAST, 8)):
            values = {
                "StudyInstanceUID": study, "StudyDate": today(zone), "size_bytes": size,
                "series_count": 1, "instance_count": 3,
            }  # fmt: skip
            index_rows.insert(connection, Level.STUDY, values, patient)
        values = {"StudyInstanceUID": "1.4", "StudyDate": "20200101", "series_count": SERIES}
        study = index_rows.insert(connection, Level.STUDY, values, patient)
        # The last to arrive has the first number; some have none, and one has it twice.
        for place in range(SERIES):
            number = "" if place < 3 else str(max(2, SERIES - place))
            values = {"SeriesInstanceUID": f"1.4.{place}", "SeriesNumber": number, "Modality": "CT"}
            index_rows.insert(connection, Level.SERIES, values, study)
        connection.execute(
            "INSERT INTO remote_nodes (name, ae_title, host, port)"
            " VALUES ('PACS', 'PACS', '127.0.0.1', 104)"
        )
    return shared_api.of_role("operator")


def listed(answer, kind="studies"):
    assert answer.status_code == 200, answer.text
    return re.findall(rf'<a href="/{kind}/([0-9.]+)"><bdi>', answer.text)


def test_today_is_the_day_of_the_browser_s_zone(operator):
    said = {
        zone: operator.get("/studies", params={"days": "0", "zone": zone}) for zone in (FIRST, LAST)
    }
    assert listed(said[FIRST]) == ["1.1"]
    assert listed(said[LAST]) == ["1.3", "1.2", "1.1"]
    export = re.search(r'href="(/api/v1/studies/export\.csv[^"]*)"', said[FIRST].text)[1]
    lines = operator.get(export.replace("&amp;", "&")).text.splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == ["1.1"]


@pytest.mark.parametrize("zone", ["", "Nowhere/Else", "../../etc", "Europe"])
def test_without_a_zone_that_is_known_it_is_utc(operator, zone):
    answer = operator.get("/studies", params={"days": "0", "zone": zone})
    here = [LAST, LAST, FIRST] if today("UTC") == today(LAST) else [FIRST]
    assert len(listed(answer)) == len(here)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_csv_has_the_order_of_the_page(operator, order):
    page = operator.get(f"/studies?sort=size&order={order}")
    export = re.search(r'href="(/api/v1/studies/export\.csv[^"]*)"', page.text)[1]
    lines = operator.get(export.replace("&amp;", "&")).text.splitlines()
    found = [line.partition(",")[0] for line in lines[1:]]
    assert found == listed(page) == ["1.4", "1.1", "1.3", "1.2"][:: 1 if order == "asc" else -1]
    patients = operator.get(f"/patients?sort=patient&order={order}").text
    assert f"/patients/export.csv?sort=patient&amp;order={order}" in patients
    answer = operator.get("/api/v1/patients/export.csv", params={"sort": "size", "order": order})
    assert "P1" in answer.text


def test_a_patient_has_a_time_line_whose_months_show_their_studies(operator):
    [patient] = operator.get("/api/v1/patients").json()["items"]
    here = f"/patients/{patient['id']}"
    whole = operator.get(here).text
    assert f'href="{here}?month=2020-01"' in whole
    assert "<dt>2020</dt>" in whole
    one = operator.get(f"{here}?month=2020-01")
    assert listed(one) == ["1.4"]
    assert re.search(r'aria-current="true">Jan<', one.text)
    assert len(listed(operator.get(f"{here}?month=none"))) == 4
    for edge, status in (("0001-01", 200), ("9999-12", 200), ("2020-13", 200)):
        assert operator.get(f"{here}?month={edge}").status_code == status
    german = operator.get(f"{here}?month=2020-12", headers={"Accept-Language": "de"}).text
    assert "Zeitleiste" in german


def test_series_stand_in_the_order_of_their_number_over_all_pages(operator):
    first = operator.get("/studies/1.4")
    follow = re.search(r'rel="next" href="([^"]*)"', first.text)[1]
    second = operator.get(follow.replace("&amp;", "&"))
    found = [
        int(place)
        for page in (first, second)
        for place in re.findall(r'href="/studies/1\.4/series/1\.4\.(\d+)"', page.text)
    ]
    assert found == [*(SERIES - 2, SERIES - 1), *range(SERIES - 3, 2, -1), 0, 1, 2]
    for page in (first, second):
        assert "the others are on the other pages" in page.text
    viewer = operator.get("/api/v1/studies/1.4/series", params={"limit": 2}).json()
    assert [one["series_instance_uid"] for one in viewer["items"]] == ["1.4.0", "1.4.1"]


def test_a_page_that_cannot_do_it_leads_back_to_where_it_was_asked(operator):
    form = {"csrf_token": operator.headers["X-CSRF-Token"], "back": "/studies?search=1.1&days=0"}
    for answer, back in (
        (operator.post("/selection/send", data=form), "/studies?search=1.1&amp;days=0"),
        (operator.post("/selection/send", data=form | {"back": "//evil"}), "/selection/send"),
        (
            operator.post(
                "/jobs/00000000-0000-4000-8000-000000000000/retry", data=form | {"back": ""}
            ),
            "/jobs",
        ),
        (operator.get("/studies", params={"modality": "c t"}), "/studies"),
        (operator.get("/studies/9.9"), "/studies"),
    ):
        assert answer.is_client_error
        assert f'<a class="button primary" href="{back}">Back</a>' in answer.text
    assert ">Back</a>" not in operator.get("/nowhere").text


def test_series_and_images_of_a_study_are_counted_apart(operator):
    for language, words in (("en", "250 series, 0 images"), ("de", "250 Serien, 0 Bilder")):
        page = operator.get("/studies", headers={"Accept-Language": language}).text
        assert words in page
        assert ("1 Serie, 3 Bilder" if language == "de" else "1 series, 3 images") in page
