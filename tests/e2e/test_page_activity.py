"""The transaction log as activity: associations that unfold, and who did what to whom.

And the rules of routing, of which the list counts live what they apply to.
"""

import re
import subprocess

import pytest
from playwright.sync_api import expect

from support import browser as browsers
from support import phantom, senders
from support.browser import DESKTOP, PHONE, Visitor
from support.delivered import put_rules
from support.suite import signed_in
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

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
    expect(row).to_contain_text("Thorax, Tina")
    row.locator("summary").click()
    expect(row.locator("tbody tr", has_text="C-STORE")).to_have_count(images)
    assert echo(running_suite, "LATER_CT")
    later = page.locator(".activity > li", has_text="LATER_CT")
    expect(later).to_contain_text("verified the connection")
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
    expect(peer).to_contain_text("the calling AE title is not allowed")
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


def test_a_rule_is_made_with_rows_of_conditions(admin):
    page = admin.page
    page.goto("/routing/destinations")
    page.get_by_role("link", name="Add a destination").click()
    page.get_by_role("link", name="Folder").click()
    page.fill("#f-name", "contouring")
    page.fill("#f-path", "/var/lib/draw-handlers/contouring")
    page.click("main button:has-text('Save')")
    expect(page.get_by_role("status").first).to_contain_text("saved")

    page.get_by_role("link", name="Rules", exact=True).click()
    page.get_by_role("link", name="Add a rule").first.click()
    page.fill("[id='f-subject.0']", "PatientID")
    page.get_by_role("button", name="Add a condition").click()
    expect(page.locator("[id='f-subject.1']")).to_be_visible()
    page.fill("#f-name", "Of nobody")
    page.fill("[id='f-value.0']", "R-1")
    page.fill("[id='f-subject.1']", "instances")
    page.select_option("[id='f-operator.1']", "<")
    page.fill("[id='f-value.1']", "1")
    page.check("#f-stop")
    # Enter saves, and does not press the first button of a condition.
    page.press("#f-name", "Enter")
    expect(page.get_by_role("status").first).to_contain_text("saved")
    row = page.locator("tr", has_text="Of nobody")
    expect(row).to_contain_text('PatientID equals "R-1" and number of objects is less than 1')
    row.get_by_role("link", name="Of nobody", exact=True).click()
    page.get_by_role("button", name="Remove Condition 2").click()
    expect(page.locator("[id='f-subject.1']")).to_have_count(0)
    page.get_by_role("button", name="Write as text").click()
    expect(page.locator("#f-text")).to_have_value(re.compile('"PatientID"'))
    page.fill("#f-name", "Of R-1")
    page.locator("footer").get_by_role("button", name="Save").click()
    expect(page.locator("tr", has_text="Of R-1")).to_contain_text('PatientID equals "R-1"')


def test_rules_move_and_count_live_what_they_apply_to(admin, running_suite):
    page = admin.page
    of_one = {"subject": "PatientID", "operator": "equals", "value": "R-1"}
    with signed_in(running_suite.web_url) as client:
        body = {"rules": [{"name": "Of R-1", "when": of_one, "stop": True}]}
        headers = {"If-Match": "*"}
        client.put("/api/v1/routing", json=body, headers=headers).raise_for_status()
    page.goto("/routing")
    page.get_by_role("link", name="Add a rule").click()
    page.fill("#f-name", "Others")
    page.check("#f-stop")
    page.locator("footer").get_by_role("button", name="Save").click()
    page.locator("tr", has_text="Others").get_by_role("button", name="Up").click()
    expect(page.locator("tbody tr").first).to_contain_text("1. Others")
    page.locator("tr", has_text="Others").get_by_role("button", name="Turn off").click()
    expect(page.locator("tbody tr").first).to_contain_text("Off")

    uid, _ = send(running_suite, PatientID="R-1")
    counted = page.locator("tr", has_text="Of R-1").locator("td[data-label=Today]")
    expect(counted).to_have_text("4")
    page.goto(f"/studies/{uid}")
    page.locator(".series > a").first.click()
    page.get_by_role("link", name="Which rules apply?").click()
    expect(page.locator("section", has_text="2. Of R-1")).to_contain_text("seen: R-1")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_of_routing_fit_and_have_no_issue(browser, running_suite, admin, viewport):
    uid, _ = send(running_suite, PatientID="R-2")
    deep = {"any": [{"all": [{"subject": "Modality", "operator": "equals", "value": "CT"}]}]}
    long = "A rule with a name as long as names of rules may be, of which most need less than this"
    rules = [
        {"name": long, "when": deep, "stop": True},
        {"name": "Thin slices", "when": {"all": [
            {"subject": "SeriesDescription", "operator": "matches", "value": "topogram|scout" * 9},
            {"not": {"subject": "ImageType", "operator": "contains", "value": "LOCALIZER"}},
        ]}, "destinations": ["both", "contouring"]},
        {"name": "W" * 100, "destinations": ["W" * 100]},
    ]  # fmt: skip
    destinations = [
        {"kind": "folder", "name": "contouring", "path": "/var/lib/draw-handlers/contouring"},
        {"kind": "group", "name": "both", "mode": "all", "members": ["contouring"]},
        {"kind": "folder", "name": "W" * 100, "path": "/var/lib/draw-handlers/w"},
    ]
    with signed_in(running_suite.web_url) as client:
        body = {"destinations": destinations, "rules": rules}
        headers = {"If-Match": "*"}
        client.put("/api/v1/routing", json=body, headers=headers).raise_for_status()
    # In German: its words are longer.
    visitor = Visitor(
        browser, running_suite.web_url, locale="de-DE", viewport=viewport, bypass_csp=True
    ).share(admin)
    wrong = []

    def look(path):
        wrong.extend(f"{path} {issue}" for issue in visitor.all_issues())
        wrong.extend(f"{path} {misfit}" for misfit in visitor.misfits())

    page = visitor.page
    for path in (
        "/routing", "/routing/history", "/routing/rule/new", "/routing/rule/new?preset=0",
        "/routing/rule/edit?name=Thin+slices", f"/routing/rule/edit?name={long}",
        "/routing/destination/new", "/routing/destination/new?kind=celery",
        "/routing/destination/edit?name=both", "/routing/destination/edit?name=contouring",
        "/routing/rule/remove?name=Thin+slices", "/routing/replay", "/routing/batches",
        "/routing/batches/new", f"/routing/test?kind=study&uid={uid}",
    ):  # fmt: skip
        assert page.goto(path).ok, path
        look(path)
    page.goto("/routing/rule/edit?name=Thin+slices")
    page.fill("[id='f-subject.0']", "Nonsense")
    page.fill("#f-about", "x")
    page.locator("button[formaction*='/rule/try']").click()
    expect(page.locator("[id='h-subject.0']")).to_be_visible()
    look("wrong")
    page.fill("[id='f-subject.0']", "SeriesDescription")
    page.select_option("#f-trigger", "study_complete")
    page.fill("#f-about", uid)
    page.locator("button[formaction*='/rule/try']").click()
    expect(page.locator("#tried")).to_be_visible()
    look("tried")
    page.locator("button[formaction*='/rule/replay']").click()
    expect(page.locator("#replayed")).to_be_visible()
    look("replayed")
    page.goto("/routing/batches/new")
    page.locator("footer button.primary").click()
    expect(page.locator("#previewed")).to_be_visible()
    look("previewed")
    complaints = visitor.complaints
    visitor.close()
    assert wrong == []
    # What is refused is said by the console too.
    assert all("422" in one for one in complaints)


def test_deliveries_are_held_given_up_and_seen_where_they_have_gone(
    browser, admin, running_suite, tmp_path
):
    page = admin.page
    with signed_in(running_suite.web_url) as running_suite.admin:
        destinations = [{"kind": "folder", "name": "desk & co", "path": str(tmp_path / "desk")}]
        modality = {"subject": "Modality", "operator": "equals", "value": "CT"}
        rule = {"name": "all", "when": modality, "destinations": ["desk & co"]}
        put_rules(running_suite, {"destinations": destinations, "rules": [rule]})
    page.goto("/routing/destinations")
    page.get_by_role("button", name="Pause desk & co").click()
    expect(page.get_by_role("status").first).to_contain_text("until it is resumed")
    send(running_suite, PatientName="First^Delivery", PatientID="D-1")
    page.goto("/routing/deliveries?destination=desk+%26+co")
    first = page.locator("tr", has_text="First, Delivery")
    expect(first).to_contain_text("Pending")
    first.get_by_role("checkbox").check()
    study, _ = send(running_suite, PatientName="Second^Delivery", PatientID="D-2")
    second = page.locator("tr", has_text="Second, Delivery")
    expect(second).to_contain_text("Pending")
    expect(first.get_by_role("checkbox")).to_be_checked()
    expect(page.get_by_text("1 selected")).to_be_visible()
    paths = ("/routing/destinations", "/routing/destinations/desk%20%26%20co", page.url)
    window = Visitor(browser, running_suite.web_url, bypass_csp=True).share(admin)
    check_looks(window, *paths, f"/studies/{study}", "/")
    page.goto("/routing/deliveries?destination=desk+%26+co")
    first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Give up").click()
    page.get_by_role("button", name="Give it up").click()
    expect(first).to_contain_text("Failed")
    first.get_by_role("link").click()
    expect(page.locator("main")).to_contain_text("given up by admin")
    check_looks(window, page.url)
    window.close()
    page.goto("/")
    expect(page.locator(".needs")).to_contain_text("The destination desk & co is paused")
    page.get_by_role("button", name="Resume desk & co").click()
    expect(page.locator("#h-state")).to_contain_text("Running")
    page.goto(f"/studies/{study}")
    gone = page.locator("section", has=page.locator("#h-gone"))
    expect(gone).to_contain_text("desk & co")
    gone.get_by_role("link", name="desk & co").click()
    expect(page.locator("#h-state")).to_contain_text("Delivered")


def check_looks(visitor, *paths):
    """Check that pages have no issue, and fit a desktop and a phone."""
    for viewport in (PHONE, DESKTOP):
        visitor.page.set_viewport_size(viewport)
        for path in paths:
            visitor.page.goto(path)
            assert visitor.misfits() == [], (path, viewport)
            if viewport is DESKTOP:
                assert visitor.all_issues() == [], path
