"""The work list as a person uses it: sort, page, tick, and do something to several studies.

The rows are written into the database; no receiver runs. Not covered: what jobs then do.
"""

import csv
import io
import re
import zipfile

import psycopg
import pytest
from playwright.sync_api import expect
from sqlmodel import Session

from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.db.migrate import seed_config
from draw_shared.dicom.query.keys import Level
from support import browser as browsers
from support import index_rows, service_finder
from support.api import PASSWORD, ApiHarness
from support.browser import PHONE, Visitor

pytestmark = pytest.mark.e2e

NAMES = {
    1: "Smith^John", 2: "=CMD()^../..", 3: "Ü" * 300, 4: "محمد^علي", 5: "Yamada^Tarou=山田^太郎",
    6: "é\N{COMBINING ACUTE ACCENT}^<b>x</b>", 7: "CON", 8: "",
}  # fmt: skip
MANY = 120
SERIES = 3000


@pytest.fixture(scope="module")
def api(postgres_url, template, tmp_path_factory):
    storage = tmp_path_factory.mktemp("storage")
    with service_finder.cloned_database(postgres_url, template) as url:
        with psycopg.connect(url) as connection:
            _fill(connection, storage)
        with ApiHarness(url, storage) as api:
            with Session(api.database.engine) as session:
                seed_config(session, EVERYTHING)
                session.commit()
            yield api


def _fill(connection, storage):
    for number in range(1, MANY + 1):
        named = {"PatientID": f"P{number:03}", "PatientName": NAMES.get(number, f"Doe{number}^Jo")}
        patient = index_rows.insert(connection, Level.PATIENT, named)
        values = {
            "StudyInstanceUID": f"1.2.{number}", "StudyDate": f"2026{1 + number % 12:02}01",
            "StudyDescription": "Thorax" if number % 2 else "Knee", "modalities": ["CT"],
            "size_bytes": number * 1_000_000, "instance_count": 1, "series_count": 1,
            "held": number == 119,
        }  # fmt: skip
        study = index_rows.insert(connection, Level.STUDY, values, patient)
        uid = f"1.2.{number}.1"
        series = index_rows.insert(
            connection, Level.SERIES, {"SeriesInstanceUID": uid, "Modality": "CT"}, study
        )
        path = storage / "objects" / "none" / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"DICM")
        image = {
            "SOPInstanceUID": f"{uid}.1", "sop_class_uid": "1.2", "transfer_syntax_uid": "1.2.3",
            "path": str(path.relative_to(storage)), "content_sha256": bytes(32), "size_bytes": 4,
        }  # fmt: skip
        index_rows.insert(connection, Level.IMAGE, image, series)
    connection.execute(
        "INSERT INTO series (study_pk, series_instance_uid, modality, series_number)"
        " SELECT max(id), '1.9.' || n, 'SR', n FROM studies, generate_series(1, %s) n GROUP BY n",
        (SERIES - 1,),
    )
    connection.execute(
        "UPDATE studies SET series_count = %s WHERE study_instance_uid = '1.2.120'", (SERIES,)
    )
    connection.execute(
        "INSERT INTO remote_nodes (name, ae_title, host, port) VALUES ('Far', 'FAR', '::1', 104)"
    )


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def visitor(browser, api):
    """An administrator's window; the browser must not complain about anything."""
    visitor = Visitor(browser, api.url, bypass_csp=True).sign_in(password=PASSWORD)
    yield visitor
    # A search that a later one replaces is aborted, which htmx reports.
    aborted = ("htmx:sendAbort", "htmx:afterRequest")
    complaints = [one for one in visitor.complaints if not any(why in one for why in aborted)]
    visitor.close()
    assert complaints == []


def names(page):
    return page.locator("tbody th a").all_inner_texts()


def test_columns_sort_and_pages_go_forth_and_back_with_their_filter(visitor):
    page = visitor.page
    page.goto("/studies")
    expect(page.locator(".selected-bar")).to_contain_text("120 studies, 7.3 GB")
    page.get_by_role("link", name="Size", exact=True).click()
    expect(page.get_by_role("columnheader", name="Size")).to_have_attribute(
        "aria-sort", "descending"
    )
    expect(page.locator("tbody th a")).to_have_count(50)
    first = names(page)
    assert first[0] == "Doe120, Jo"
    expect(page.locator(".pager")).to_contain_text("1\N{EN DASH}50 of 120")
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".pager")).to_contain_text("101\N{EN DASH}120 of 120")
    assert names(page)[-1] == "Smith, John"
    page.get_by_role("link", name="Previous page").click()
    expect(page.locator(".pager")).to_contain_text("51\N{EN DASH}100 of 120")
    page.get_by_role("link", name="Previous page").click()
    expect(page.locator("tbody th a")).to_have_count(50)
    assert names(page) == first
    page.get_by_role("link", name="Size", exact=True).click()
    expect(page.locator("tbody th a").first).to_have_text("Smith, John")
    page.wait_for_load_state()
    page.keyboard.press("/")
    with page.expect_response(re.compile("search=thorax")):
        page.keyboard.type("thorax")
    expect(page.locator(".selected-bar")).to_contain_text("60 studies")
    with page.expect_response(re.compile("modality=CT")):
        page.get_by_text("CT", exact=True).first.click()
    page.wait_for_url("**modality=CT**")
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".pager")).to_contain_text("51\N{EN DASH}60 of 60")
    expect(page.locator("#search")).to_have_value("thorax")
    page.get_by_role("link", name="First page").click()
    assert re.search("search=thorax.*modality=CT|modality=CT.*search=thorax", page.url)
    assert "cursor" not in page.url
    assert "sort=size" in page.url
    assert visitor.all_issues() == []


def test_keys_move_tick_and_open(visitor):
    page = visitor.page
    page.goto("/studies?search=thorax")
    page.locator("body").press("j")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    page.keyboard.press("k")
    page.keyboard.press("Space")
    expect(page.locator("[data-selected]")).to_have_text("2 selected (236\u00a0MB)")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/1.2.117")
    page.go_back()
    expect(page.locator("[data-selected]")).to_have_text("2 selected (236\u00a0MB)")
    page.locator("tbody tr").nth(3).click(position={"x": 500, "y": 10})
    page.wait_for_url("**/studies/1.2.113")


def tick(page, *numbers):
    for number in numbers:
        page.locator(f"[name=study][value='1.2.{number}']").check()


@pytest.mark.parametrize("scripts", [True, False])
def test_several_studies_are_downloaded_as_one_archive(browser, api, scripts):
    visitor = Visitor(browser, api.url, java_script_enabled=scripts).sign_in(password=PASSWORD)
    page = visitor.page
    page.goto("/studies?sort=size&order=asc")
    tick(page, *NAMES)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    assert download.value.suggested_filename == "8_studies.zip"
    folders = [one.partition("/")[0] for one in zipfile.ZipFile(download.value.path()).namelist()]
    assert folders == [
        "Smith_John_2026-02-01_CT", "CMD_2026-03-01_CT", f"{'Ü' * 40}_2026-04-01_CT",
        "محمد_علي_2026-05-01_CT", "Yamada_Tarou_2026-06-01_CT", "é_b_x_b_2026-07-01_CT",
        "CON_2026-08-01_CT", "P008_2026-09-01_CT",
    ]  # fmt: skip
    page.goto("/studies/1.2.2")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download ZIP").click()
    assert download.value.suggested_filename == "CMD_2026-03-01_CT.zip"
    visitor.close()


def test_studies_are_sent_held_and_deleted_with_an_answer_for_each(visitor, api):
    page = visitor.page
    page.goto("/studies?search=doe")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("main")).to_contain_text("No study is selected")
    visitor.complaints.clear()
    page.goto("/studies?search=doe")
    tick(page, 118, 119)
    page.get_by_role("button", name="Send to…").click()
    page.wait_for_url("**/selection/send")
    assert visitor.all_issues() == []
    page.get_by_role("button", name="Send", exact=True).dblclick()
    expect(page.get_by_text("The job is queued.")).to_have_count(2)
    assert len(api.rows("SELECT id FROM jobs")) == 2
    page.get_by_role("link", name="Back to the list").click()
    page.wait_for_url("**/studies?search=doe")
    tick(page, 117, 119)
    page.get_by_role("button", name="Hold").click()
    expect(page.get_by_text("It is held already.")).to_be_visible()
    page.fill("#reason", "xy       ")
    page.get_by_role("button", name="Hold the studies").click()
    expect(page.locator(".error")).to_be_visible()
    visitor.complaints.clear()
    page.fill("#reason", "in dispute")
    page.get_by_role("button", name="Hold the studies").click()
    expect(page.locator(".outcome.good")).to_have_text("Held.")
    expect(page.locator(".outcome.bad")).to_have_text("The study is held already.")
    page.goto("/studies?search=doe")
    tick(page, 110, 111, 112, 119)
    page.get_by_role("button", name="Delete").click()
    for said in ("Doe110, Jo", "Doe111, Jo", "It is held and will not be deleted."):
        expect(page.locator("table")).to_contain_text(said)
    assert visitor.all_issues() == []
    answer = api.signed_in("admin").delete("/api/v1/studies/1.2.111?reason=meanwhile")
    assert answer.status_code == 200
    page.fill("#reason", "sent twice")
    page.get_by_role("button", name="Delete the studies").click()
    expect(page.get_by_text("Deleted; its files go within seconds.")).to_have_count(2)
    expect(page.locator(".outcome.bad")).to_have_text(
        ["The study is held; release it first.", "The index has no such study."]
    )
    assert len(api.rows("SELECT id FROM studies WHERE study_instance_uid ~ '^1.2.11[0-29]$'")) == 1
    actions = [name for _, name, _ in api.actions()]
    assert actions.count("study.delete") == 3


def test_who_may_not_do_it_is_not_offered_it_and_is_refused(browser, api):
    viewer = api.of_role("viewer")
    assert "/selection/download" in viewer.get("/studies").text
    form = {"study": "1.2.1", "csrf_token": viewer.headers["X-CSRF-Token"]}
    for act in ("send", "hold", "delete"):
        assert f"/selection/{act}" not in viewer.get("/studies").text
        assert viewer.post(f"/selection/{act}", data=form).status_code == 403
    operator = api.of_role("operator")
    form["csrf_token"] = operator.headers["X-CSRF-Token"]
    assert "/selection/delete" not in operator.get("/studies").text
    assert operator.post("/selection/delete", data=form).status_code == 403
    form["back"] = "https://elsewhere.example/studies?"
    asked = operator.post("/selection/hold", data=form)
    assert asked.status_code == 200
    assert "elsewhere" not in asked.text


def test_a_study_of_thousands_of_series_shows_them_all_in_pages(visitor):
    page = visitor.page
    page.goto("/studies/1.2.120")
    seen = 0
    while True:
        seen += page.locator(".series > a").count()
        onward = page.get_by_role("link", name="Next page")
        if not onward.count():
            break
        page.goto(onward.get_attribute("href"))
    assert seen == SERIES
    expect(page.locator(".pager")).to_contain_text("2,801\N{EN DASH}3,000 of 3,000")


def test_lists_are_exported_and_no_cell_is_a_formula(visitor, api):
    page = visitor.page
    page.goto("/studies?modality=CT")
    with page.expect_response(re.compile("search=p00")):
        page.fill("#search", "p00")
    expect(page.locator(".selected-bar")).to_contain_text("9 studies")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download list (CSV)").click()
    lines = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8"))))
    assert len(lines) == 9
    assert {line["study_instance_uid"] for line in lines} == {f"1.2.{n}" for n in range(1, 10)}
    assert [line["patient_name"] for line in lines if line["patient_id"] == "P002"] == [
        "'=CMD()^../.."
    ]
    page.goto("/patients?search=smith")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download list (CSV)").click()
    [line] = csv.DictReader(io.StringIO(download.value.path().read_text("utf-8")))
    assert line["patient_id"] == "P001"
    page.goto("/transactions/audit")
    with page.expect_response(re.compile("user=nobody")):
        page.fill("#user", "nobody")
    expect(page.get_by_role("link", name="Download CSV")).to_have_attribute(
        "href", re.compile("nobody")
    )
    assert {"studies.export", "patients.export"} <= {name for _, name, _ in api.actions()}


def test_no_old_rows_stay_below_a_search_that_failed(visitor):
    page = visitor.page
    page.goto("/studies")
    page.route(re.compile("search=doe"), lambda route: route.abort())
    page.fill("#search", "doe")
    expect(page.locator("#found [role=alert]")).to_contain_text("The server does not answer.")
    expect(page.locator("#found table")).to_have_count(0)
    page.fill("#search", "thorax")
    expect(page.locator(".selected-bar")).to_contain_text("studies")
    page.evaluate("document.getElementById('search').value = 'x'.repeat(129)")
    page.keyboard.press("Enter")
    expect(page.locator("#found [role=alert]")).to_be_visible()
    visitor.complaints.clear()


def test_the_language_is_chosen_on_any_page(visitor):
    page = visitor.page
    page.goto("/studies?search=doe")
    tick(page, 117)
    page.get_by_role("button", name="Hold").click()
    page.wait_for_url("**/selection/hold")
    page.get_by_label("Language").select_option("en")
    page.wait_for_url("**/studies")
    with page.expect_response(re.compile("search=p008")):
        page.fill("#search", "p008")
    page.wait_for_url("**search=p008**")
    page.get_by_label("Language").select_option("")
    page.wait_for_url("**search=p008**")
    expect(page.locator("#search")).to_have_value("p008")
    page.locator("tbody th a").click()
    expect(page).to_have_title("No name \N{MIDDLE DOT} DRAW DICOM")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(browser, api, scheme):
    visitor = Visitor(
        browser, api.url, viewport=PHONE, color_scheme=scheme, bypass_csp=True
    ).sign_in(password=PASSWORD)
    for path in (
        "/studies", "/studies?sort=size&order=asc", "/studies?held=true", "/patients",
        "/patients?sort=patient&order=desc", "/patients/3", "/studies/1.2.3",
    ):  # fmt: skip
        visitor.page.goto(path)
        assert visitor.misfits() == [], path
        assert visitor.all_issues() == [], path
    visitor.close()
