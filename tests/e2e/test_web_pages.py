"""Every page in Debian's Chromium, with a real suite, real DICOM and a real Orthanc behind it.

Two widths, both themes, hostile patient names, and without JavaScript. Rendering of each
transfer syntax is not covered here but in the tests of the object reader.
"""

import re
import subprocess

import pytest
from playwright.sync_api import expect

from support import browser as browsers
from support import datasets, peers, phantom, receptions, senders
from support.browser import DESKTOP, PHONE, Visitor
from support.suite import signed_in
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

HOSTILE = {
    "script": '<script>alert(1)</script>^"O\'Hara"',
    "markup": "<b>Bold</b>^{{7*7}}",
    "right to left": "عبد الله^محمد\u202e",
    "ideographs": "山田^太郎=Yamada^Taro",
    "long": "Wolfeschlegelsteinhausenbergerdorff^" + "A" * 28,
}
CONFLICT = """
SELECT s.study_instance_uid AS uid FROM instance_conflicts c
JOIN instances i ON i.sop_instance_uid = c.sop_instance_uid
JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk LIMIT 1
"""
PARTS_OF_ALL_KINDS = (
    "/", "/services", "/studies", "/conflicts", "/storage", "/queries/new", "/jobs/all",
    "/nodes/new", "/transactions", "/transactions/audit", "/transactions/lines", "/ae-titles",
    "/ae-titles/rejected", "/config/history",
    "/ae-titles/simulator?calling_ae=A&address=192.0.2.1", "/users", "/services/scp/stop",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def remote(running_suite, tmp_path_factory):
    """An Orthanc with one study."""
    with peers.orthanc(tmp_path_factory.mktemp("orthanc"), running_suite.dicom_port) as server:
        held = phantom.study(slices=12, PatientName="Remote^Rita", PatientID="REMOTE-1")
        peers.fill(server, held)
        yield server, held[0].StudyInstanceUID


@pytest.fixture(scope="module")
def studies(running_suite):
    """The Study Instance UIDs that were received, by the kind of name."""
    sent = {}
    for number, (kind, name) in enumerate(HOSTILE.items()):
        objects = phantom.study(slices=3, PatientName=name, PatientID=f"H-{number}")
        with senders.association(running_suite.dicom_port, senders.contexts_of(objects)) as made:
            assert {made.send_c_store(one).Status for one in objects} == {0}
        sent[kind] = str(objects[0].StudyInstanceUID)
    running_suite.wait_for_rows(
        len(sent), "SELECT id FROM studies WHERE instance_count = 6", seconds=10
    )
    return sent


@pytest.fixture(scope="module")
def first(browser, running_suite, studies):
    """An administrator's window whose session the others share."""
    visitor = Visitor(browser, running_suite.web_url).sign_in()
    yield visitor
    visitor.close()


@pytest.fixture
def visitor(browser, running_suite, first):
    """An administrator's window; the browser must not complain about anything."""
    visitor = Visitor(browser, running_suite.web_url).share(first)
    yield visitor
    complaints = visitor.complaints
    visitor.close()
    assert complaints == []


def test_who_is_not_signed_in_is_asked_to_and_comes_back(browser, running_suite, studies):
    visitor = Visitor(browser, running_suite.web_url)
    page = visitor.page
    page.goto("/studies?patient_id=H-1")
    page.fill("#name", "admin")
    page.fill("#password", "wrong")
    page.click("button:has-text('Sign in')")
    expect(page.get_by_role("alert")).to_contain_text("Wrong name or password")
    page.fill("#password", browsers.ADMIN_PASSWORD)
    page.click("button:has-text('Sign in')")
    expect(page).to_have_url(re.compile(r"/studies\?patient_id=H-1$"))
    page.click("button:has-text('Sign out')")
    expect(page.get_by_role("status")).to_contain_text("signed out")
    page.goto("/")
    expect(page).to_have_url(re.compile("/sign-in"))
    visitor.close()


@pytest.mark.security
def test_signing_in_never_leads_to_another_site(browser, running_suite):
    visitor = Visitor(browser, running_suite.web_url)
    visitor.page.goto("/sign-in?next=//example.org/")
    assert visitor.page.input_value("input[name=next]") == ""
    visitor.close()


@pytest.mark.security
def test_names_are_text_and_nothing_else(visitor, studies):
    page = visitor.page
    page.goto("/studies")
    rows = page.locator("tbody tr")
    expect(rows.first).to_be_visible()
    shown = page.locator("tbody").inner_text()
    assert '<script>alert(1)</script>, "O\'Hara"' in shown
    assert "<b>Bold</b>, {{7*7}}" in shown
    assert "山田 太郎 (Yamada, Taro)" in shown
    assert "\u202e" not in shown
    for study in studies.values():
        page.goto(f"/studies/{study}")
        expect(page.get_by_role("heading", level=1)).not_to_be_empty()
    assert page.locator("main script").count() == 0


def test_the_page_speaks_the_language_of_the_browser_or_of_the_user(browser, running_suite, first):
    visitor = Visitor(browser, running_suite.web_url, locale="de-DE").share(first)
    page = visitor.page
    page.goto("/sign-in")
    expect(page.get_by_role("button", name="Anmelden", exact=True)).to_be_visible()
    page.goto("/users?page=1")
    assert page.get_attribute("html", "lang") == "de"
    expect(page.locator("main h1")).to_contain_text("Benutzer")
    expect(page.locator("main time").first).to_have_text(re.compile(r"\d\d\.\d\d\.\d{4}, \d\d:"))
    page.select_option("#language", "en")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page).to_have_url(re.compile(r"/users\?page=1$"))
    page.select_option("#language", "")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    assert visitor.complaints == []
    visitor.close()


def test_search_narrows_while_typing(visitor, studies):
    page = visitor.page
    page.goto("/studies")
    page.keyboard.press("/")
    page.keyboard.type("H-3")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile("search=H-3"))
    page.fill("#search", "nobody")
    expect(page.get_by_text("No study matches")).to_be_visible()


def test_one_field_finds_whatever_people_type(visitor, studies):
    page = visitor.page
    page.goto("/studies")
    for typed in ("wolfe a", "Wolfe, A", "山田", "taro yamada", "h-3 thorax", "YAMADA"):
        wanted = studies["long" if "olfe" in typed else "ideographs"]
        page.fill("#search", "")
        expect(page.locator("tbody tr")).not_to_have_count(1)
        page.fill("#search", typed)
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody a")).to_have_attribute("href", f"/studies/{wanted}")
    # The whole row leads to the study.
    page.locator("tbody td").nth(1).click(force=True)
    expect(page).to_have_url(re.compile(re.escape(wanted)))


def _series(page, study, modality):
    page.goto(f"/studies/{study}")
    page.locator(
        ".series > a", has=page.locator(".tag", has_text=re.compile(f"^{modality}$"))
    ).click()
    page.wait_for_load_state()


def _picture(page):
    return page.evaluate(
        """async () => { const i = document.querySelector('[data-screen]'); await i.decode();
        return [i.naturalWidth, i.naturalHeight, i.getAttribute('src')]; }"""
    )


def test_images_are_shown_stepped_and_windowed(visitor, studies):
    page = visitor.page
    _series(page, studies["ideographs"], "CT")
    assert _picture(page)[:2] == [phantom.EDGE, phantom.EDGE]
    expect(page.locator("[data-overlay]")).to_have_text("Image 2/3")
    expect(page.locator("[data-edge]")).to_have_text(["R", "L", "A", "P"])
    before = _picture(page)[2]
    page.locator(".screen").press("ArrowDown")
    expect(page.locator("[data-overlay]")).to_have_text("Image 3/3")
    page.wait_for_function("src => document.querySelector('[data-screen]').src !== src", arg=before)
    page.click("text=Lung")
    expect(page.locator("[data-screen]")).to_have_attribute(
        "src", re.compile("center=-600&width=1500")
    )
    assert page.input_value("#width") == "1500"
    expect(page.locator("[data-window-said]")).to_have_text("W 1500 L -600")
    screen = page.locator(".screen")
    for key, shown in (("Home", "Image 1/3"), ("End", "Image 3/3")):
        screen.press(key)
        expect(page.locator("[data-overlay]")).to_have_text(shown)
    screen.press("i")
    expect(page.locator("#inverted")).to_be_checked()
    screen.press("r")
    expect(page.locator("#inverted")).not_to_be_checked()
    expect(page.locator("[data-window-said]")).to_have_text("W 400 L 40")
    page.mouse.move(*_middle(screen))
    page.mouse.wheel(0, -120)
    expect(page.locator("[data-overlay]")).to_have_text("Image 2/3")


def _middle(place):
    box = place.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_series_of_a_study_are_beside_the_image_in_order_of_number(visitor, studies):
    page = visitor.page
    _series(page, studies["ideographs"], "CT")
    expect(page.locator("[data-series]")).to_have_text(
        [re.compile(text) for text in ("1 CT", "2 RTSTRUCT", "3 RTPLAN", "4 RTDOSE")]
    )
    expect(page.locator(".overlay.corner").first).to_contain_text("山田 太郎")
    expect(page.locator(".overlay.corner").first).to_contain_text("H-3")
    page.locator(".screen").press("4")
    expect(page.locator("[data-dose]")).to_be_visible()
    expect(page.locator("[data-series][aria-current]")).to_contain_text("RTDOSE")
    page.keyboard.press("3")
    expect(page.get_by_text("Thorax VMAT")).to_be_visible()
    expect(
        page.locator("dl.facts dd", has_text=re.compile(r"^\d{4}-\d\d-\d\d$")).first
    ).to_be_visible()
    with page.expect_download() as got:
        page.click("text=Download series")
    assert got.value.suggested_filename.endswith(".zip")


def test_what_names_an_image_follows_the_image_shown(visitor, studies):
    page = visitor.page
    _series(page, studies["ideographs"], "CT")
    named = page.locator("[data-uid] code")
    uids = [
        one.get_attribute("data-copy") for one in page.locator("tr[data-row] [data-copy]").all()
    ]
    assert named.get_attribute("title") == uids[1]
    expect(page.locator("[data-place]")).to_have_text("z -1.5 mm, thickness 3 mm")
    page.locator(".screen").press("ArrowUp")
    expect(named).to_have_attribute("title", uids[0])
    expect(page.locator("[data-place]")).to_have_text("z -4.5 mm, thickness 3 mm")
    expect(page.locator("dd[data-number]")).to_have_text("1")
    expect(page.locator("tr[aria-current]")).to_have_attribute("data-row", "1")
    expect(page.locator("[data-file]")).to_have_attribute(
        "href", f"/api/v1/instances/{uids[0]}/file"
    )
    expect(page).to_have_url(re.compile("object=1"))
    page.get_by_role("link", name="DICOM tags").click()
    expect(page).to_have_url(re.compile(f"/instances/{re.escape(uids[0])}/elements"))
    page.go_back()
    expect(page.locator("[data-overlay]")).to_have_text("Image 1/3")


def test_dragging_changes_the_window(visitor, studies):
    page = visitor.page
    _series(page, studies["ideographs"], "CT")
    assert (page.input_value("#center"), page.input_value("#width")) == ("40.0", "400.0")
    box = page.locator(".screen").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 150, y + 75, steps=20)
    page.mouse.up()
    # A drag of 300 pixels doubles the window.
    assert (page.input_value("#center"), page.input_value("#width")) == ("140", "600")
    expect(page.locator("[data-screen]")).to_have_attribute(
        "src", re.compile("center=140&width=600")
    )
    expect(page).to_have_url(re.compile("center=140&width=600"))


def test_dose_structures_and_plan_are_readable(visitor, studies):
    page = visitor.page
    _series(page, studies["script"], "RTDOSE")
    assert _picture(page)[0] == phantom.DOSE_EDGE
    expect(page.locator("[data-for=frame]")).to_have_text("2 of 3")
    values = page.locator("dd", has=page.locator("[data-values]"))
    scale = values.inner_text()
    assert scale.startswith("0 to ")
    assert scale.endswith(" Gy")
    page.locator(".screen").press("ArrowDown")
    expect(page.locator("[data-for=frame]")).to_have_text("3 of 3")
    expect(page.locator("[data-place]")).not_to_be_empty()
    expect(values).to_have_text(scale)
    expect(page.locator("[data-dose]")).to_contain_text("Gy")
    _series(page, studies["script"], "RTSTRUCT")
    expect(page.locator("tr", has_text="Spinal cord")).to_contain_text("ORGAN")
    _series(page, studies["script"], "RTPLAN")
    expect(page.locator("tr", has_text="Arc 1")).to_contain_text("312.4")
    expect(page.get_by_text("APPROVED")).to_be_visible()


def test_elements_are_a_searchable_tree(visitor, studies):
    page = visitor.page
    _series(page, studies["script"], "RTPLAN")
    page.click("text=DICOM tags")
    expect(page.locator("tr", has_text="Patient's Name")).to_contain_text("<script>")
    page.fill("#search", "GantryAngle")
    expect(page.get_by_text("No tag matches")).to_be_visible()
    page.fill("#search", "Gantry Angle")
    expect(page.locator("tbody tr", has_text="181").first).to_be_visible()
    expect(page.locator("tbody tr", has_text="Beam Sequence").first).to_be_visible()


def test_conflicts_and_several_people_are_shown_where_one_looks(visitor, running_suite):
    one = datasets.build(PatientID="SHARED", PatientName="Doe^John", PatientBirthDate="19600102")
    eve = {"PatientName": HOSTILE["script"], "PatientBirthDate": "19710304"}
    other = datasets.build(PatientID="SHARED", **eve)
    again = receptions.same_instance(one, StudyInstanceUID=other.StudyInstanceUID)
    objects = [one, other, again]
    with senders.association(running_suite.dicom_port, senders.contexts_of(objects)) as made:
        assert {made.send_c_store(each).Status for each in objects} == {0}
    running_suite.wait_for_rows(1, CONFLICT, seconds=60)
    page = visitor.page
    page.goto("/storage")
    page.get_by_role("link", name="Conflicts", exact=True).click()
    row = page.locator("#found tbody tr", has_text="Another study")
    expect(row).to_have_count(1)
    expect(page.locator("section", has_text="Several people under")).to_contain_text("Doe, John")
    page.select_option("#kind", label="Another patient")
    expect(row).to_have_count(0)
    page.select_option("#kind", label="Another study")
    row.locator(f"a[href='/studies/{one.StudyInstanceUID}']").click()
    expect(page.locator("section", has_text="Conflicts")).to_contain_text("this one")
    expect(page.get_by_role("heading", level=1)).to_have_text("Doe, John")
    page.locator("section", has_text="Conflicts").get_by_role("link", name="Open").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    expect(page.locator("main")).to_contain_text("Several people")
    page.goto("/patients")
    page.check("#ambiguous")
    expect(page.locator("#found tbody tr")).to_have_count(1)
    expect(page.locator("#found")).to_contain_text("Several people")


def test_a_study_is_downloaded_held_and_released(visitor, studies, tmp_path):
    page = visitor.page
    page.goto(f"/studies/{studies['long']}")
    with page.expect_download() as download:
        page.click("text=Download ZIP")
    assert download.value.path().read_bytes()[:2] == b"PK"
    page.click("a:has-text('Hold')")
    page.fill("#reason", "needed for a meeting")
    page.click("button:has-text('Hold the study')")
    expect(page.get_by_role("status")).to_contain_text("held")
    expect(page.locator("main")).to_contain_text("needed for a meeting (admin,")
    page.click("button:has-text('Release')")
    expect(page.get_by_role("status")).to_contain_text("released")


def test_a_study_is_deleted_with_a_reason(visitor, running_suite):
    objects = phantom.study(slices=1, PatientName="Mistake^Sent", PatientID="GONE")
    with senders.association(running_suite.dicom_port, senders.contexts_of(objects)) as made:
        assert {made.send_c_store(one).Status for one in objects} == {0}
    uid = str(objects[0].StudyInstanceUID)
    running_suite.wait_for_rows(
        1,
        "SELECT id FROM studies WHERE study_instance_uid = :uid AND instance_count = 4",
        seconds=10,
        uid=uid,
    )
    page = visitor.page
    page.goto(f"/studies/{uid}")
    page.click("a:has-text('Delete')")
    expect(page.locator("main")).to_contain_text("Mistake, Sent")
    expect(page.locator("main")).to_contain_text("GONE")
    page.locator("#reason").evaluate("field => { field.form.noValidate = true; }")
    page.fill("#reason", "x")
    page.click("button:has-text('Delete the study')")
    expect(page.locator("#h-reason .error")).to_contain_text("at least 3 characters")
    assert page.input_value("#reason") == "x"
    assert visitor.complaints.pop().count("422")
    page.fill("#reason", "sent by mistake")
    page.click("button:has-text('Delete the study')")
    expect(page.get_by_role("status")).to_contain_text("deleted")
    assert (
        running_suite.rows("SELECT id FROM studies WHERE study_instance_uid = :uid", uid=uid) == []
    )


def test_configuration_is_checked_saved_and_rolled_back(visitor):
    page = visitor.page
    page.goto("/config")
    place = page.locator("[id='f-network.max_associations']")
    place.evaluate("field => { field.removeAttribute('max'); field.form.noValidate = true; }")
    place.fill("999")
    page.click("button:has-text('Save')")
    expect(page.locator("[id='h-network.max_associations'] .error")).to_be_visible()
    assert visitor.complaints.pop().count("422")
    folded = page.locator("[id='f-storage.max_object_bytes']")
    expect(folded).to_be_hidden()
    page.fill("#find", "largest pdu")
    expect(page.locator(".setting:visible")).to_have_count(1)
    page.fill("#find", "larger objects")
    expect(folded).to_have_value("8 GiB")
    for typed, told in (("much", "such as 8 GiB"), ("9 PiB", "to 64 GiB")):
        page.fill("#find", "")
        place.fill("25")
        page.fill("#find", "larger objects")
        folded.fill(typed)
        page.click("button:has-text('Save')")
        expect(folded).to_be_visible()
        expect(folded).to_have_value(typed)
        expect(page.locator("[id='h-storage.max_object_bytes'] .error")).to_contain_text(told)
        assert visitor.complaints.pop().count("422")
    folded.fill("8.6 GB")
    place.fill("25")
    page.fill("#comment", "more modalities")
    page.click("button:has-text('Save')")
    expect(page.get_by_role("status")).to_contain_text("saved")
    page.click("a:has-text('History')")
    expect(page.locator("tbody tr").first).to_contain_text("more modalities")
    expect(page.locator("tbody tr").first).to_contain_text("network.max_associations")
    expect(page.locator("tbody tr").first).to_contain_text("8.6 GB")
    page.click("a:has-text('Roll back to 1')")
    page.click("button:has-text('Roll back')")
    expect(page.locator("[id='f-network.max_associations']")).to_have_value("10")


def test_ae_titles_are_allowed_and_explained(visitor):
    page = visitor.page
    page.goto("/ae-titles/new")
    page.fill("#f-ae_title", "CT_ROOM_2")
    page.fill("#f-expected_ip", "not an address")
    page.click("button:has-text('Save')")
    expect(page.locator("#h-expected_ip .error")).to_be_visible()
    assert visitor.complaints.pop().count("422")
    page.fill("#f-expected_ip", "192.0.2.17")
    page.click("button:has-text('Save')")
    expect(page.locator("tr", has_text="CT_ROOM_2")).to_contain_text("192.0.2.17")
    page.goto("/ae-titles/simulator")
    page.fill("#f-calling_ae", "CT_ROOM_2")
    page.fill("#f-address", "192.0.2.17")
    page.click("button:has-text('accepted')")
    expect(page.locator("#h-verdict")).to_contain_text("Accepted")


def test_remote_node_query_retrieve_to_completion(visitor, remote):
    server, study = remote
    page = visitor.page
    page.goto("/nodes/new")
    page.fill("#f-name", "Archive PACS")
    page.fill("#f-ae_title", server.ae_title)
    page.fill("#f-host", "127.0.0.1")
    page.fill("#f-port", str(server.port))
    page.check("#f-supports_get")
    page.click("button:has-text('Save')")
    page.click("button:has-text('Test connection')")
    expect(page.locator("#h-test + *, section:has(#h-test)").last).to_contain_text("Reachable")

    page.goto("/queries/new")
    page.fill("#k-PatientName", "REMOTE*")
    page.click("button:has-text('Query')")
    expect(page.locator("tbody th", has_text="Remote, Rita")).to_be_visible()
    expect(page.get_by_text("Complete: the node has sent every match")).to_be_visible()
    page.check("[name=selected]")
    expect(page.locator("[data-selected]")).to_have_text("1 selected")
    page.click("button:has-text('Retrieve selected')")
    expect(page.locator("#h-state .badge")).to_have_text("Complete")
    expect(page.locator(".big")).to_contain_text("15 of 15")
    page.click("dd a:has-text('Open')")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Remote, Rita")
    assert study in page.url
    page.get_by_role("link", name="History").click()
    expect(page).to_have_url(re.compile(f"uid={re.escape(study)}"))
    page.goto("/jobs")
    expect(page.locator("tbody tr").first).to_contain_text("Remote, Rita")

    page.goto("/queries/history")
    page.click("button:has-text('Run again') >> nth=0")
    expect(page.locator("tbody th", has_text="Remote, Rita")).to_be_visible()


def test_batch_shows_errors_before_anything_starts(visitor, remote):
    page = visitor.page
    page.goto("/batches/new")
    page.fill("#text", f"StudyInstanceUID\n{remote[1]}\nnot-a-uid\n")
    page.click("button:has-text('Check the list')")
    expect(page.get_by_role("alert")).to_contain_text("cannot be used")
    assert visitor.complaints.pop().count("422")
    page.fill("#text", "")
    saved = f"sep=;\r\nName;Study UID\r\nGrün;{remote[1]}\r\n".encode("utf-16")
    page.set_input_files("#file", {"name": "list.csv", "mimeType": "text/csv", "buffer": saved})
    page.click("button:has-text('Check the list')")
    expect(page.get_by_text("1 item to retrieve")).to_be_visible()
    expect(page.locator("#text")).to_have_value(re.compile("Grün"))


def test_a_list_is_asked_and_what_is_ticked_retrieved(visitor, remote):
    page = visitor.page
    page.goto("/queries")
    page.click("a:has-text('Query a list')")
    page.fill("#text", "Remark;Patient ID\nx;REMOTE-1\ny;NOBODY\n")
    page.click("button:has-text('Check the list')")
    expect(page.get_by_role("heading", name="2 lines to query")).to_be_visible()
    expect(page.get_by_text("not sent: Remark")).to_be_visible()
    page.click("button:has-text('Query them')")
    expect(page.get_by_role("heading", name="2 of 2 answers")).to_be_visible()
    expect(page.locator("tbody tr", has_text="NOBODY")).to_contain_text("Not found")
    found = page.locator("tbody tr", has_text="Remote, Rita")
    expect(found).to_contain_text("REMOTE-1")
    page.select_option("#state", "found")
    expect(page.locator("tbody tr", has_text="NOBODY")).to_have_count(0)
    with page.expect_download() as download:
        page.click("a:has-text('CSV for Excel')")
    saved = download.value.path().read_bytes()
    assert saved.startswith(b"\xef\xbb\xbfLine;Asked;")
    found.locator("[name=selected]").check()
    page.click("button:has-text('Retrieve selected')")
    expect(page.locator("#h-state .badge")).to_have_text("Complete")
    page.goto("/batch-queries")
    page.click("tbody a")
    expect(found.locator(".badge", has_text="15")).to_be_visible()


def test_clean_up_is_only_shown(visitor, running_suite):
    page = visitor.page
    before = running_suite.rows("SELECT count(*) AS n FROM studies")
    page.goto("/storage")
    listed = page.locator("tr", has=page.locator("a[href$='/hold']")).first
    expect(listed).to_contain_text(re.compile(r"\d{4}-\d\d-\d\d"))
    with page.expect_download() as got:
        page.locator("a[href='/storage/studies.csv']").click()
    assert got.value.path().read_text("utf-8").startswith("study_instance_uid,patient_id")
    page.click("text=Clean-up preview")
    page.fill("#days", "1")
    page.click("button:has-text('Show')")
    expect(page.get_by_text("Nothing would be deleted")).to_be_visible()
    assert running_suite.rows("SELECT count(*) AS n FROM studies") == before


def test_a_service_is_stopped_and_started_live(visitor):
    page = visitor.page
    page.goto("/services")
    row = page.locator("tr", has=page.locator("th", has_text=re.compile("^indexer$")))
    row.locator("a:has-text('Stop')").click()
    page.click("button:has-text('Stop')")
    expect(row.locator("a:has-text('Start')")).to_be_visible()
    expect(row).not_to_contain_text("Ready")
    row.locator("a:has-text('Start')").click()
    page.click("button:has-text('Start')")
    expect(row).to_contain_text("Ready")


def test_the_dashboard_refreshes_until_switched_off(visitor, running_suite):
    page = visitor.page
    page.goto("/")
    expect(page.locator("[data-live-dot].on")).to_be_visible()
    tile = page.locator(".tile", has_text="Images received").locator("dd")
    before = tile.inner_text()
    page.locator("#flow canvas").wait_for()
    objects = phantom.study(slices=1, PatientName="Live^Lena", PatientID="LIVE")
    with senders.association(running_suite.dicom_port, senders.contexts_of(objects)) as made:
        assert {made.send_c_store(one).Status for one in objects} == {0}
    expect(tile).not_to_have_text(before)
    assert page.locator("#flow canvas").count() == 1
    day = page.get_by_role("region", name="Last 24 hours")
    expect(day.locator(".tile", has_text="Stored").locator("dd")).not_to_have_text(re.compile("^0"))
    expect(day.locator(".tile", has_text="Transfer rate")).to_contain_text("B/s")
    last = page.locator("table.last tr", has=page.locator("th", has_text=re.compile("^CT$")))
    expect(last).to_contain_text("TESTER")
    expect(last.locator("time")).to_have_text(re.compile("ago|now"))
    expect(last.locator("time")).to_have_attribute("title", re.compile(r"\d\d:\d\d:\d\d"))
    page.uncheck("#auto")
    expect(page.locator("[data-live-dot].on")).to_have_count(0)
    page.reload()
    assert not page.is_checked("#auto")
    page.check("#auto")


def test_users_and_tokens(visitor, browser, running_suite):
    page = visitor.page
    page.goto("/users/new")
    page.fill("#f-name", "watcher")
    page.fill("#f-password", "short")
    page.click("button:has-text('Add the user')")
    expect(page.locator("#h-password .error")).to_be_visible()
    assert visitor.complaints.pop().count("422")
    page.fill("#f-password", "long enough a password")
    page.click("button:has-text('Add the user')")
    expect(page.locator("tr", has_text="watcher").first).to_contain_text("Viewer")
    page.goto("/tokens/new")
    page.fill("#f-name", "report")
    page.click("button:has-text('Make the token')")
    expect(page.get_by_text("shown only now")).to_be_visible()

    other = Visitor(browser, running_suite.web_url).sign_in("watcher", "long enough a password")
    other.page.goto("/config")
    expect(other.page.get_by_text("but not change it")).to_be_visible()
    assert other.page.locator("button:has-text('Save')").count() == 0
    other.page.goto("/nodes/new")
    expect(other.page.get_by_role("alert")).to_contain_text("operator")
    other.close()


@pytest.mark.security
@pytest.mark.parametrize("token", [{}, {"csrf_token": "x"}])
def test_a_form_without_its_token_changes_nothing(visitor, running_suite, token):
    answer = visitor.page.request.post(
        "/ae-titles/new", form={"ae_title": "FORGED", "rights": "store", **token}
    )
    assert answer.status == 403
    assert "Nothing was done so far" in answer.text()
    assert running_suite.rows("SELECT id FROM allowed_ae_titles WHERE ae_title = 'FORGED'") == []


def test_what_was_typed_survives_an_older_page_an_ended_session_and_no_answer(
    browser, running_suite
):
    visitor = Visitor(browser, running_suite.web_url).sign_in()
    page, second = visitor.page, visitor.context.new_page()
    page.goto("/ae-titles/new")
    page.fill("#f-ae_title", "TWO_TABS")
    # Somebody signs out and in again in another tab: the token in this page is an old one.
    second.goto("/")
    second.click("button:has-text('Sign out')")
    second.wait_for_url(re.compile("/sign-in"))
    page.click("main button:has-text('Save')")
    expect(page.locator("main [role=alert]")).to_contain_text("Your session has ended")
    assert page.input_value("#f-ae_title") == "TWO_TABS"
    with visitor.context.expect_page() as opened:
        page.click("main [role=alert] a")
    opened.value.fill("#name", "admin")
    opened.value.fill("#password", browsers.ADMIN_PASSWORD)
    opened.value.click("button:has-text('Sign in')")
    opened.value.wait_for_url(re.compile("/ae-titles/new$"))
    page.route("**/api/v1/me", lambda route: route.abort())
    page.click("main button:has-text('Save')")
    expect(page.locator("main [role=alert]")).to_contain_text("does not answer")
    page.unroute("**/api/v1/me")
    # It takes the call and never answers.
    page.clock.install()
    page.route("**/api/v1/me", lambda _: None)
    page.click("main button:has-text('Save')")
    page.locator("main [role=alert]").evaluate("note => note.remove()")
    page.clock.fast_forward(11_000)
    expect(page.locator("main [role=alert]")).to_contain_text("does not answer")
    page.unroute("**/api/v1/me")
    page.click("main button:has-text('Save')")
    expect(page.locator("tr", has_text="TWO_TABS")).to_be_visible()
    expect(page.get_by_role("status")).to_be_visible()
    page.reload()
    expect(page.get_by_role("status")).to_have_count(0)
    visitor.close()


@pytest.mark.security
def test_what_somebody_typed_is_not_sent_by_who_signs_in_next(browser, running_suite):
    with signed_in(running_suite.web_url) as client:
        body = {"name": "next.one", "role": "admin", "password": "long enough a password"}
        assert client.post("/api/v1/users", json=body).status_code == 201
    visitor = Visitor(browser, running_suite.web_url).sign_in()
    page, second = visitor.page, visitor.context.new_page()
    page.goto("/ae-titles/new")
    page.fill("#f-ae_title", "TYPED_BY_ADMIN")
    second.goto("/")
    second.click("button:has-text('Sign out')")
    second.fill("#name", body["name"])
    second.fill("#password", body["password"])
    second.click("button:has-text('Sign in')")
    second.wait_for_url(re.compile(r"/$"))
    page.click("main button:has-text('Save')")
    expect(page.get_by_role("heading", level=1)).to_have_text("What you typed was kept")
    expect(page.locator("main")).to_contain_text("TYPED_BY_ADMIN")
    expect(page.locator("main")).to_contain_text(body["name"])
    titles = "SELECT id FROM allowed_ae_titles WHERE ae_title = 'TYPED_BY_ADMIN'"
    assert running_suite.rows(titles) == []
    page.click("button:has-text('Send it now')")
    expect(page.locator("tr", has_text="TYPED_BY_ADMIN")).to_be_visible()
    visitor.close()


@pytest.mark.security
def test_a_link_cannot_claim_that_something_was_done(visitor):
    visitor.page.goto("/users?notice=user-removed")
    expect(visitor.page.get_by_role("status")).to_have_count(0)


def test_a_live_page_says_that_it_is_old_and_recovers(browser, running_suite):
    visitor = Visitor(browser, running_suite.web_url).sign_in()
    page = visitor.page
    page.goto("/")
    expect(page.locator("[data-live-dot].on")).not_to_have_count(0)
    # A proxy answers 503 while the API restarts.
    page.route("**/live/dashboard", lambda route: route.fulfill(status=503))
    page.reload()
    expect(page.locator("[data-stale]")).to_contain_text("No news since")
    page.unroute("**/live/dashboard")
    expect(page.locator("[data-live-dot].on")).not_to_have_count(0)
    expect(page.locator("[data-stale]")).to_have_count(0)
    visitor.context.clear_cookies()
    page.reload()
    expect(page).to_have_url(re.compile("/sign-in"))
    visitor.sign_in()
    visitor.context.clear_cookies()
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("[data-stale]")).to_contain_text("Your session has ended")
    expect(page.locator("[data-stale] a")).to_have_attribute("href", "/sign-in?next=%2F")
    visitor.close()


def test_filters_keep_their_place_in_history_and_across_pages(visitor, studies):
    page = visitor.page
    page.goto("/patients")
    page.goto("/studies")
    page.fill("#search", "H-3")
    page.press("#search", "Tab")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.wait_for_timeout(600)
    page.go_back()
    expect(page).to_have_url(re.compile("/studies$"))
    page.go_back()
    expect(page).to_have_url(re.compile("/patients$"))


def test_an_ended_session_leads_back_to_the_filter(browser, running_suite, studies):
    visitor = Visitor(browser, running_suite.web_url).sign_in()
    page = visitor.page
    page.goto("/studies?patient_id=H-1")
    visitor.context.clear_cookies()
    page.fill("#patient_name", "B")
    page.wait_for_url(re.compile("/sign-in"))
    page.fill("#name", "admin")
    page.fill("#password", browsers.ADMIN_PASSWORD)
    page.click("button:has-text('Sign in')")
    expect(page).to_have_url(re.compile(r"/studies\?patient_id=H-1$"))
    visitor.close()


def test_a_series_has_a_picture_if_any_of_its_images_has(visitor, running_suite):
    objects = phantom.study(slices=3, PatientName="Half^Damaged", PatientID="DAMAGED")[:3]
    objects[1].PixelData = b"\0\0"
    hopeless = datasets.build("CT", PatientID="DAMAGED", PatientName="Half^Damaged")
    hopeless.Rows = hopeless.Columns = 64
    hopeless.PixelData = b"\0\0"
    for one in (*objects, hopeless):
        with senders.association(running_suite.dicom_port, senders.contexts_of([one])) as made:
            assert made.send_c_store(one).Status == 0
    uids = [str(one.SeriesInstanceUID) for one in (objects[0], hopeless)]
    running_suite.wait_for_rows(
        4,
        "SELECT i.id FROM instances i JOIN series r ON r.id = i.series_pk"
        " WHERE r.series_instance_uid IN (:one, :other)",
        seconds=10,
        one=uids[0],
        other=uids[1],
    )
    kinds = [
        visitor.page.request.get(f"/series/{uid}/thumbnail").headers["content-type"] for uid in uids
    ]
    assert kinds == ["image/png", "image/svg+xml"]
    page = visitor.page
    page.goto(f"/studies/{objects[0].StudyInstanceUID}/series/{uids[0]}?object=1")
    picture, note = page.locator("[data-screen]"), page.locator("p[data-unshown]")
    expect(picture).to_be_visible()
    page.locator(".screen").press("ArrowDown")
    # The picture of the image before does not stay under the name of this one.
    expect(note).to_have_text("This image cannot be shown.")
    expect(picture).to_be_hidden()
    expect(page.locator("[data-overlay]")).to_have_text("Image 2/3")
    for key in ("ArrowDown", "Home"):
        page.locator(".screen").press(key)
        expect(picture).to_be_visible()
        expect(note).to_be_hidden()
    page.route("**/picture?*", lambda route: route.abort())
    page.route("**/api/v1/**", lambda route: route.abort())
    page.locator(".screen").press("End")
    expect(note).to_contain_text("the server does not answer")
    expect(picture).to_be_hidden()
    expect(page.locator("[data-place]")).to_be_empty()
    assert all("Failed to load resource" in one for one in visitor.complaints)
    visitor.complaints.clear()


def test_what_needs_somebody_is_repaired_where_it_is_shown(visitor, running_suite):
    page = visitor.page
    page.goto("/config")
    page.locator("[id='f-security.validate_calling_ae']").check()
    page.click("main button:has-text('Save')")
    expect(page.get_by_role("status")).to_contain_text("saved")
    wait_until(lambda: _rejected(running_suite, "NEW_CT"), 10)
    page.goto("/")
    row = page.locator(".needs li", has_text="NEW_CT")
    expect(row).to_contain_text("the calling AE title is not allowed")
    row.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("status").first).to_contain_text("let in")
    wait_until(lambda: not _rejected(running_suite, "NEW_CT"), 10)
    page.goto("/config")
    page.locator("[id='f-security.validate_calling_ae']").uncheck()
    page.click("main button:has-text('Save')")
    expect(page.get_by_role("status")).to_contain_text("saved")


def _rejected(suite, ae_title):
    """Return whether an AE title is rejected now."""
    port = str(suite.dicom_port)
    done = subprocess.run(["echoscu", "-aet", ae_title, "127.0.0.1", port], check=False, timeout=20)
    return done.returncode != 0


def test_a_patients_page_shows_that_patient_and_no_other(visitor, running_suite):
    for patient_id, name in (("A", "Short^Id"), ("AB", "Longer^Id")):
        one = datasets.build(PatientID=patient_id, PatientName=name)
        with senders.association(running_suite.dicom_port, senders.contexts_of([one])) as made:
            assert made.send_c_store(one).Status == 0
    running_suite.wait_for_rows(
        2, "SELECT id FROM patients WHERE patient_id IN ('A', 'AB')", seconds=10
    )
    page = visitor.page
    page.goto("/patients?patient_id=A")
    page.get_by_role("link", name="Short, Id").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Short, Id")
    expect(page.locator("#found tbody tr")).to_have_count(1)
    page.locator("#found tbody a").click()
    page.get_by_role("link", name="All studies").click()
    expect(page).to_have_url(re.compile(r"/patients/\d+$"))


def test_times_are_typed_as_they_are_shown(visitor, running_suite, studies):
    """The browser is in Berlin."""
    page = visitor.page
    page.goto("/studies")
    page.get_by_label("Today").check(force=True)
    expect(page).to_have_url(re.compile("zone=Europe%2FBerlin.*days=0"))
    page.goto("/transactions/lines")
    expect(page.get_by_text("Times are in Europe/Berlin")).to_be_visible()
    shown = page.locator("tbody tr time").first.inner_text()
    page.get_by_label("From (Europe/Berlin)").fill(shown[:16].replace(" ", "T"))
    expect(page).to_have_url(re.compile("since=20"))
    page.get_by_label("To (Europe/Berlin)").fill("2099-12-31T23:59")
    expect(page).to_have_url(re.compile("until=2099-12-31T22%3A59"))
    expect(page.locator("tbody tr").first).to_be_visible()
    page.reload()
    assert page.get_by_label("From (Europe/Berlin)").input_value() == shown[:16].replace(" ", "T")
    page.get_by_label("From (Europe/Berlin)").fill("2099-12-30T00:00")
    expect(page.get_by_text("Nothing matches")).to_be_visible()


class Hand:
    """Counts what a person clicks and types, from the dashboard on."""

    def __init__(self, page):
        self.page = page
        self.clicks = self.keys = 0
        page.goto("/")

    def click(self, what):
        self.clicks += 1
        what.click()

    def go_to(self, place):
        self.click(self.page.get_by_role("navigation", name="Main").get_by_text(place, exact=True))
        expect(self.page.get_by_role("heading", level=1)).to_have_text(place)

    def write(self, text, *, enter=False):
        self.keys += len(text) + enter
        self.page.keyboard.type(text)
        if enter:
            self.page.keyboard.press("Enter")

    def took(self, clicks, keys):
        """Return whether it was no more than this."""
        assert (self.clicks <= clicks, self.keys <= keys) == (True, True), (self.clicks, self.keys)


@pytest.fixture
def usual(running_suite):
    """A study of a patient whom everybody looks for."""
    objects = phantom.study(slices=2, PatientName="Usual^Ursula", PatientID="USUAL-1")
    with senders.association(running_suite.dicom_port, senders.contexts_of(objects)) as made:
        assert {made.send_c_store(one).Status for one in objects} == {0}
    running_suite.wait_for_rows(
        1,
        "SELECT s.id FROM studies s JOIN patients p ON p.id = s.patient_pk"
        " WHERE p.patient_id = 'USUAL-1' AND s.series_count = 4",
        20,
    )
    return str(objects[0].StudyInstanceUID)


def test_usual_tasks_with_studies_take_few_clicks(visitor, usual):
    """What they may cost is what they cost when the page was compared with others by hand."""
    page = visitor.page
    row = page.locator("tbody tr", has_text="Usual")

    hand = Hand(page)
    hand.go_to("Studies")
    hand.write("/ursu")
    expect(page.locator("tbody tr")).to_have_count(1)
    hand.click(row.locator("th a"))
    expect(page).to_have_url(re.compile(f"/studies/{usual}$"))
    hand.took(3, 8)

    hand = Hand(page)
    hand.go_to("Studies")
    hand.click(row.locator("th a"))
    hand.click(page.locator(".series > a", has_text="CT thorax"))
    expect(page.locator("img[data-screen]")).to_be_visible()
    hand.took(3, 0)

    hand = Hand(page)
    hand.go_to("Studies")
    hand.click(row.locator("th a"))
    with page.expect_download() as download:
        hand.click(page.get_by_role("link", name=re.compile("Download")).first)
    assert "Usual" in download.value.suggested_filename
    hand.took(3, 0)

    hand = Hand(page)
    hand.go_to("Studies")
    hand.click(row.locator("[name=study]"))
    hand.click(page.get_by_role("button", name="Delete", exact=True))
    expect(page.locator("#reason")).to_be_focused()
    hand.write("twice", enter=True)
    expect(page.locator("main")).to_contain_text("Deleted; its files go within seconds.")
    hand.took(5, 9)

    hand = Hand(page)
    hand.go_to("Transactions")
    hand.click(page.get_by_role("link", name="Audit", exact=True))
    expect(page.locator("tbody tr", has_text="USUAL-1").first).to_contain_text("twice")
    hand.took(2, 0)


def test_usual_tasks_with_peers_take_few_clicks(visitor):
    """Querying is counted in test_page_queries.py; a rejected peer is let in by a click, above."""
    page = visitor.page
    hand = Hand(page)
    hand.go_to("Remote nodes")
    hand.click(page.get_by_role("link", name="Add a remote node").first)
    for field, value in (("name", "USUAL"), ("ae_title", "US"), ("host", "::1"), ("port", "104")):
        hand.click(page.locator(f"#f-{field}"))
        page.fill(f"#f-{field}", "")
        hand.write(value)
    hand.click(page.get_by_role("button", name="Save"))
    hand.click(page.get_by_role("button", name="Test connection"))
    expect(page.get_by_role("status").first).to_contain_text("The test is on its way")
    hand.took(8, 32)

    hand = Hand(page)
    hand.go_to("Jobs")
    hand.took(1, 0)

    hand = Hand(page)
    hand.go_to("Configuration")
    field = page.locator("[id='f-network.ae_title']")
    title = field.input_value()
    hand.click(field)
    page.keyboard.press("Control+a")
    hand.write("USUAL_AE", enter=True)
    expect(page.get_by_role("status")).to_contain_text("saved")
    hand.took(3, 9)
    field.fill(title)
    field.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("saved")


def test_everything_works_without_javascript(browser, running_suite, studies):
    visitor = Visitor(browser, running_suite.web_url, java_script_enabled=False).sign_in()
    page = visitor.page
    page.goto("/studies")
    page.fill("#search", "H-0")
    page.click("button:has-text('Search')")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody a").first.click()
    page.locator(".series > a", has_text="CT thorax").click()
    page.click("a:has-text('Next')")
    expect(page.locator("[data-overlay]")).to_contain_text("Image 3/3")
    page.goto("/ae-titles/new")
    page.fill("#f-ae_title", "NO_SCRIPT")
    page.click("button:has-text('Save')")
    expect(page.locator("tr", has_text="NO_SCRIPT")).to_be_visible()
    page.click("tr:has-text('NO_SCRIPT') >> a:has-text('Remove')")
    page.click("button:has-text('Take it off')")
    expect(page.locator("tr", has_text="NO_SCRIPT")).to_have_count(0)
    visitor.close()


def _paths(running_suite, study):
    series = running_suite.rows(
        "SELECT r.series_instance_uid AS uid, r.modality FROM series r JOIN studies s"
        " ON s.id = r.study_pk WHERE s.study_instance_uid = :uid",
        uid=study,
    )
    instance = running_suite.rows("SELECT sop_instance_uid AS uid FROM instances LIMIT 1")[0]
    job = running_suite.rows("SELECT id FROM jobs WHERE kind = 'retrieve' LIMIT 1")
    query = running_suite.rows("SELECT id FROM queries LIMIT 1")
    listed = running_suite.rows("SELECT id FROM batch_queries LIMIT 1")
    node = running_suite.rows("SELECT id FROM remote_nodes LIMIT 1")
    conflict = running_suite.rows(CONFLICT)
    line = running_suite.rows("SELECT id FROM transactions ORDER BY id DESC LIMIT 1")
    return [
        "/", "/studies", "/studies?patient_id=nobody", "/patients", "/conflicts", "/storage",
        "/storage/clean-up", "/queries", "/queries/new", "/batch-queries", "/batch-queries/new",
        "/jobs", "/jobs/all", "/batches/new",
        "/nodes", "/nodes/new", "/transactions", "/transactions/audit", "/transactions/lines",
        "/ae-titles", "/ae-titles/rejected", "/ae-titles/new",
        "/ae-titles/simulator?calling_ae=A&address=192.0.2.1", "/config", "/config/history",
        "/users", "/users/new", "/users/password", "/tokens/new", "/dead-letters",
        "/changes", "/webhooks/new", "/about",
        "/services/scp/stop", f"/studies/{study}", f"/studies/{study}/delete",
        *(f"/studies/{study}/series/{one['uid']}" for one in series),
        *(f"/studies/{one['uid']}" for one in conflict),
        f"/instances/{instance['uid']}/elements",
        *(f"/jobs/{one['id']}" for one in job), *(f"/queries/{one['id']}" for one in query),
        *(f"/batch-queries/{one['id']}" for one in listed),
        *(f"/nodes/{one['id']}" for one in node), *(f"/transactions/{one['id']}" for one in line),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("viewport", "theme", "rules"),
    # Structure is the same in both; colours and sizes are not.
    [(DESKTOP, "light", ()), (PHONE, "dark", ("color-contrast", "scrollable-region-focusable"))],
    ids=["desktop", "phone"],
)
def test_every_page_fits_and_has_no_serious_issue(
    browser, running_suite, first, studies, viewport, theme, rules
):
    # In German: its words are longer.
    visitor = Visitor(
        browser,
        running_suite.web_url,
        locale="de-DE",
        viewport=viewport,
        color_scheme=theme,
        bypass_csp=True,
    ).share(first)
    wrong = []
    for path in _paths(running_suite, studies["long"]):
        answer = visitor.page.goto(path)
        assert answer.ok, path
        if not rules or path in PARTS_OF_ALL_KINDS or "/series/" in path:
            wrong += [f"{path} {issue}" for issue in visitor.serious_issues(*rules)]
        wrong += [f"{path} {misfit}" for misfit in visitor.misfits()]
    complaints = visitor.complaints
    visitor.close()
    assert wrong == []
    assert complaints == []
