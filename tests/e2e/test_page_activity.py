"""The transaction log as activity: associations that unfold, and who did what to whom."""

import re
import subprocess

import pytest
from playwright.sync_api import expect

from support import browser as browsers
from support import phantom, senders
from support.browser import PHONE, Visitor
from tools.processes import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]

LIVE = 20_000
PASSWORD = "long enough for an operator"


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def admin(browser, running_suite):
    """An administrator's window; the browser must not complain about anything."""
    visitor = Visitor(browser, running_suite.web_url).sign_in()
    yield visitor
    complaints = visitor.complaints
    visitor.close()
    assert complaints == []


@pytest.fixture(scope="module")
def operator(browser, running_suite, admin):
    """An operator's window."""
    page = admin.page
    page.goto("/users/new")
    page.fill("#f-name", "otto")
    page.fill("#f-password", PASSWORD)
    page.select_option("#f-role", "operator")
    page.click("main button:has-text('Add'), main button:has-text('Save')")
    expect(page.get_by_role("status").first).to_be_visible()
    visitor = Visitor(browser, running_suite.web_url).sign_in("otto", PASSWORD)
    yield visitor
    visitor.close()


def send(suite, **attributes):
    """Send a study, and return its UID when it is indexed."""
    objects = phantom.study(slices=2, **attributes)
    with senders.association(suite.dicom_port, senders.contexts_of(objects)) as made:
        assert {made.send_c_store(one).Status for one in objects} == {0}
    uid = str(objects[0].StudyInstanceUID)
    suite.wait_for_rows(
        1,
        "SELECT id FROM studies WHERE study_instance_uid = :uid AND instance_count = :n",
        seconds=10,
        uid=uid,
        n=len(objects),
    )
    return uid, len(objects)


def echo(suite, ae_title):
    """Return whether a C-ECHO of this AE title is accepted."""
    port = str(suite.dicom_port)
    done = subprocess.run(["echoscu", "-aet", ae_title, "127.0.0.1", port], check=False, timeout=20)
    return done.returncode == 0


def type_into(page, field, text):
    """Fill in a filter, leave it, and wait for the answers to both."""
    page.fill(f"#{field}", text)
    expect(page).to_have_url(re.compile(f"{field}={text}"))
    with page.expect_response(re.compile(f"{field}={text}")):
        page.locator(f"#{field}").blur()


def check_titles(page, *, on):
    page.goto("/config")
    box = page.locator("[id='f-security.validate_calling_ae']")
    box.check() if on else box.uncheck()
    page.click("main button:has-text('Save')")
    expect(page.get_by_role("status").first).to_contain_text("saved")


def test_an_association_unfolds_to_its_operations_and_stays_open_while_others_come(
    admin, running_suite
):
    page = admin.page
    _, images = send(running_suite, PatientName="Thorax^Tina", PatientID="T-1")
    page.goto("/transactions")
    row = page.locator(".activity > li", has_text=f"stored {images} images")
    expect(row).to_contain_text("Thorax, Tina", timeout=LIVE)
    row.locator("summary").click()
    expect(row.locator("tbody tr", has_text="C-STORE")).to_have_count(images)
    assert echo(running_suite, "LATER_CT")
    later = page.locator(".activity > li", has_text="LATER_CT")
    expect(later).to_contain_text("verified the connection", timeout=LIVE)
    expect(row.locator("tbody tr", has_text="C-STORE").first).to_be_visible()
    type_into(page, "peer", "LATER_CT")
    expect(page.locator(".activity > li")).to_have_count(1)
    page.get_by_role("link", name="Today").click()
    expect(page).to_have_url(re.compile("span=today.*since=20"))
    expect(page.locator(".activity > li")).to_have_count(1)
    page.get_by_role("link", name="Problems only").click()
    expect(page.get_by_text("Nothing matches")).to_be_visible()


def test_a_rejected_peer_appears_live_and_is_allowed_from_its_address(admin, running_suite):
    page = admin.page
    assert echo(running_suite, "OLD_CT")
    running_suite.wait_for_rows(
        1,
        "SELECT id FROM transactions WHERE calling_ae = 'OLD_CT' AND kind = 'association'",
        seconds=20,
    )
    page.goto("/ae-titles")
    page.locator("#locked-out summary").click()
    expect(page.locator("#locked-out")).to_contain_text("OLD_CT")
    check_titles(page, on=True)
    page.goto("/transactions")
    wait_until(lambda: not echo(running_suite, "NEW_MR"), 10)
    peer = page.locator("#rejections li", has_text="NEW_MR")
    expect(peer).to_contain_text("the calling AE title is not allowed", timeout=LIVE)
    peer.get_by_label("only from this address").check()
    peer.get_by_role("button", name="Allow").click()
    row = (
        page.locator("#h-allowed")
        .locator("xpath=ancestor::section")
        .locator("tr", has_text="NEW_MR")
    )
    expect(row).to_contain_text("127.0.0.1")
    wait_until(lambda: echo(running_suite, "NEW_MR"), 10)
    check_titles(page, on=False)


def test_who_deleted_a_patients_study_is_one_search_for_an_administrator_only(
    admin, operator, running_suite
):
    page = admin.page
    uid, _ = send(running_suite, PatientName="Gone^Gerda", PatientID="KN100234")
    page.goto(f"/studies/{uid}")
    page.click("a:has-text('Delete')")
    page.fill("#reason", "wrong patient")
    page.click("button:has-text('Delete the study')")
    expect(page.get_by_role("status").first).to_contain_text("deleted")
    page.goto("/transactions/audit")
    type_into(page, "patient_id", "KN100234")
    row = page.locator("tbody tr", has_text="Deleted a study")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("patient KN100234")
    expect(row).to_contain_text("wrong patient")
    assert row.locator("a[href^='/studies/']").count() == 0
    row.get_by_role("link").click()
    assert page.locator("main a[href^='/studies/']").count() == 0
    expect(page.locator("main")).to_contain_text("KN100234")
    other = operator.page
    other.goto("/transactions/audit?group=deleted")
    row = other.locator("tbody tr", has_text="wrong patient")
    expect(row).to_contain_text("a study that is not in the archive")
    assert "KN100234" not in other.locator("main").inner_text()
    type_into(other, "patient_id", "KN100234")
    expect(other.get_by_text("Nothing matches")).to_be_visible()
    assert operator.complaints == []


def test_without_javascript_operations_are_a_link_away_also_on_a_phone(
    browser, running_suite, admin
):
    visitor = Visitor(
        browser, running_suite.web_url, java_script_enabled=False, viewport=PHONE
    ).sign_in()
    page = visitor.page
    page.goto("/transactions")
    row = page.locator(".activity > li", has_text="stored").first
    row.locator("summary").click()
    row.get_by_role("link", name="Operations of this association").click()
    expect(page.locator("tbody tr", has_text="C-STORE").first).to_be_visible()
    page.goto("/transactions?uid=1.2.3")
    expect(page).to_have_url(re.compile("/transactions/lines"))
    visitor.close()
