"""Connecting a device in a browser: its call, allowing it, its node, the test back; statistics.

Which servers the test of a node recognizes is covered in unit/qr_worker/test_node_tests.
"""

import http.server
import re
import threading

import pytest
from playwright.sync_api import expect

from support import browser as browsers
from support import foreign_clients, peers, phantom, senders
from support.browser import DESKTOP, PHONE, Visitor
from support.suite import AE_TITLE, set_config, set_receiver_config, signed_in
from support.waiting import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def first(browser, running_suite):
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


@pytest.fixture(scope="module")
def remote(running_suite, tmp_path_factory):
    with peers.orthanc(tmp_path_factory.mktemp("orthanc"), running_suite.dicom_port) as server:
        yield server


@pytest.fixture
def only_known_titles(running_suite, first):
    """The receiver takes associations of AE titles on its list only."""
    with signed_in(running_suite.web_url) as running_suite.admin:
        set_receiver_config(running_suite, security={"validate_calling_ae": True})
        yield
        set_config(running_suite, security={"validate_calling_ae": False})


def echo_is_accepted(port, title):
    """Call with echoscu of DCMTK, as a device would."""
    try:
        foreign_clients.dcmtk_echo(port, "-aet", title)
    except AssertionError:
        return False
    return True


def echo(port, title, *, accepted):
    assert echo_is_accepted(port, title) == accepted


def wait_for_echo(port, title, *, accepted):
    """A receiver learns of a change a moment after it was answered."""
    assert wait_until(lambda: echo_is_accepted(port, title) == accepted, 30)


def test_a_device_calls_is_allowed_added_and_tested_back(
    visitor, running_suite, remote, only_known_titles
):
    page = visitor.page
    page.goto("/nodes")
    page.get_by_role("link", name="Connect a device").first.click()
    expect(page).to_have_url(re.compile("since="))
    expect(page.locator("[data-own=ae-title]")).to_have_text(AE_TITLE)
    expect(page.locator("[data-own=port]")).to_have_text(str(running_suite.dicom_port))
    # Nobody else can reach this machine by 127.0.0.1.
    assert "127.0.0.1" not in page.locator("section", has_text="Enter this").inner_text()
    expect(page.get_by_text("Nobody has called yet")).to_be_visible()
    echo(running_suite.dicom_port, remote.ae_title, accepted=False)
    call = page.locator(".calls > li", has_text=remote.ae_title)
    expect(call).to_contain_text("Rejected")
    expect(call).to_contain_text("not in the list of allowed AE titles")
    page.reload()
    # Whoever calls meanwhile stands first, and is not let in by a click on this one.
    allow = call.get_by_role("button", name="Allow from 127.0.0.1").element_handle()
    echo(running_suite.dicom_port, "SOMEBODY_ELSE", accepted=False)
    expect(page.locator(".calls > li").first).to_contain_text("SOMEBODY_ELSE")
    assert allow.evaluate("a => a.form.elements.calling_ae.value") == remote.ae_title
    allow.click()
    expect(page.get_by_role("status")).to_contain_text("let in")
    expect(call).to_contain_text("let the device call once more")
    wait_for_echo(running_suite.dicom_port, remote.ae_title, accepted=True)
    expect(call).to_contain_text("C-ECHO answered")
    call.get_by_role("link", name="Continue with this device").click()
    assert page.input_value("#f-name") == remote.ae_title
    assert page.input_value("#f-host") == "127.0.0.1"
    page.fill("input.port", str(remote.port))
    page.get_by_role("button", name="Add and test").click()
    steps = page.locator(".checklist li")
    expect(steps).to_have_count(5)
    expect(page.locator(".checklist li.passed")).to_have_count(5)
    page.reload()
    expect(page.locator(".checklist li.passed")).to_have_count(5)
    page.get_by_role("link", name="Open the remote node").click()
    expect(page.locator(".checklist li.passed")).to_have_count(5)
    expect(page.locator("[data-own=port]")).to_have_text(str(running_suite.dicom_port))
    page.locator("table.jobs-of-node a").first.click()
    expect(page.locator(".checklist li.passed")).to_have_count(5)
    expect(page.locator("dl.facts")).not_to_contain_text(re.compile("[{}]"))


def test_a_web_server_on_the_port_is_called_a_web_server_and_all_nodes_are_tested(
    visitor, running_suite
):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = visitor.page
    page.goto("/devices/connect?step=node&ae_title=WEB&address=127.0.0.1")
    page.fill("#f-name", "not DICOM " + "\u202e" + "x" * 40)
    page.fill("input.port", str(server.server_address[1]))
    page.get_by_role("button", name="Add and test").click()
    failed = page.locator(".checklist li.failed")
    expect(failed).to_contain_text("this is a web server (HTTP), not DICOM")
    expect(failed).to_contain_text("DICOM association")
    page.goto("/nodes")
    page.get_by_role("button", name="Test all").click()
    expect(page.get_by_role("status")).to_contain_text("tests are on their way")
    expect(page.locator("table.nodes")).to_contain_text("web server")
    server.shutdown()


def test_it_works_without_javascript(browser, running_suite, first):
    plain = Visitor(browser, running_suite.web_url, java_script_enabled=False).share(first)
    page = plain.page
    page.goto("/devices/connect")
    echo(running_suite.dicom_port, "PLAIN_HTML", accepted=True)
    call = page.locator(".calls > li", has_text="PLAIN_HTML")
    for _ in range(20):
        page.get_by_role("link", name="Refresh").click()
        if call.count():
            break
        page.wait_for_timeout(250)
    expect(call).to_contain_text("C-ECHO answered")
    call.get_by_role("link", name="Continue").click()
    page.locator("input[name=port_choice][value=other]").check()
    page.fill("input.port", "70000")
    page.locator("input.port").evaluate("field => { field.form.noValidate = true; }")
    page.get_by_role("button", name="Add and test").click()
    expect(page.locator("fieldset .error")).to_contain_text("65535")
    assert page.input_value("#f-name") == "PLAIN_HTML"
    plain.close()


def test_what_was_received_is_shown_by_day_sender_modality_and_sop_class(
    visitor, running_suite, tmp_path
):
    objects = phantom.study(slices=5, PatientName="Counted^One", PatientID="STAT-1")
    with senders.association(
        running_suite.dicom_port, senders.contexts_of(objects), calling="=HYPERLINK"
    ) as made:
        assert {made.send_c_store(one).Status for one in objects} == {0}
    running_suite.wait_for_rows(
        1,
        "SELECT 1 FROM store_statistics WHERE calling_ae = '=HYPERLINK' HAVING sum(objects) = 8",
        seconds=20,
    )
    page = visitor.page
    page.goto("/")
    page.get_by_role("link", name="Statistics").click()
    row = page.locator("section", has_text="Senders").locator("tr", has_text="=HYPERLINK")
    expect(row.locator("td").first).to_have_text("8")
    expect(page.locator(".u-wrap canvas")).to_be_visible()
    modalities = page.locator("section", has_text="as the SOP classes tell it")
    expect(modalities.locator("tr", has_text="RTDOSE").locator("td").first).to_have_text("1")
    row.get_by_role("link").click()
    expect(page.locator(".tile").first).to_contain_text("8")
    page.select_option("#modality", "CT")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".tile").first).to_contain_text("5")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].split(",")[1:3] == ["'=HYPERLINK", "CT"]
    page.fill("#first", "2030-01-02")
    page.fill("#last", "2030-01-01")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("must not be before the first day")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_pages_fit_and_have_no_finding(browser, running_suite, first, size, theme):
    window = Visitor(
        browser, running_suite.web_url, viewport=size, color_scheme=theme, bypass_csp=True
    ).share(first)
    paths = ["/devices/connect", "/devices/connect?step=node&ae_title=A", "/nodes", "/statistics"]
    paths += ["/devices/connect?step=test"]
    for node in running_suite.rows("SELECT id FROM remote_nodes ORDER BY id"):
        paths += [f"/nodes/{node['id']}", f"/devices/connect?step=test&node={node['id']}"]
    for path in paths:
        window.page.goto(path)
        assert window.misfits() == [], path
        assert window.all_issues() == [], path
    window.close()
