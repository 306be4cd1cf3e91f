"""Query, drill down and retrieve as a person does, with Orthanc and dcmqrscp as nodes.

Lists of questions and the first steps with a node are in test_web_pages.py; what nodes answer that
err is in test_retrieves.py.
"""

import re
import socket

import pytest
from playwright.sync_api import expect

from support import browser as browsers
from support import peers, phantom
from support.browser import PHONE, Visitor
from support.suite import signed_in
from tools.processes import free_port

pytestmark = pytest.mark.e2e

LONG = "Wolfeschlegelsteinhausenbergerdorff^" + "A" * 28
SMALL = {"width": 1280, "height": 720}


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def nodes(running_suite, tmp_path_factory):
    """An Orthanc with ten patients and a dcmqrscp with one; their names, and the operator."""
    with (
        peers.orthanc(tmp_path_factory.mktemp("orthanc"), running_suite.dicom_port) as orthanc,
        peers.dcmqrscp(tmp_path_factory.mktemp("dcmqrscp"), running_suite.dicom_port) as dcmqrscp,
        signed_in(running_suite.web_url) as client,
    ):
        for number in range(10):
            name = LONG if number == 9 else f"Query^Number {number}"
            held = phantom.study(slices=2, PatientName=name, PatientID=f"Q-{number}")
            peers.fill(orthanc, held)
        peers.fill(dcmqrscp, phantom.study(slices=4, PatientName="Müller^Eva", PatientID="DC-1"))
        for name, server in (("Orthanc", orthanc), ("dcmqrscp", dcmqrscp)):
            body = {
                "name": name,
                "ae_title": server.ae_title,
                "host": "127.0.0.1",
                "port": server.port,
                "supports_get": True,
            }
            assert client.post("/api/v1/nodes", json=body).status_code == 201
        yield client


@pytest.fixture
def hung(nodes):
    """The number of a node that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        body = {"name": "Hung", "ae_title": "HUNG", "host": "127.0.0.1"}
        added = nodes.post("/api/v1/nodes", json=body | {"port": server.getsockname()[1]})
        yield str(added.json()["id"])
        nodes.put(
            f"/api/v1/nodes/{added.json()['id']}", json=body | {"port": 1, "active": False}
        ).raise_for_status()


@pytest.fixture(scope="module")
def first(browser, running_suite, nodes):
    visitor = Visitor(browser, running_suite.web_url).sign_in()
    yield visitor
    visitor.close()


@pytest.fixture
def visitor(browser, running_suite, first):
    """An administrator's window; the browser must not complain about anything."""
    visitor = Visitor(browser, running_suite.web_url, viewport=SMALL).share(first)
    yield visitor
    complaints = visitor.complaints
    visitor.close()
    assert complaints == []


def ask(page, node, **keys):
    """Ask one node, beginning in the navigation."""
    page.get_by_role("link", name="Query", exact=True).click()
    for box in page.locator("input[name=node_id]").all():
        box.uncheck()
    page.get_by_label(node, exact=True).check()
    for keyword, value in keys.items():
        page.fill(f"#k-{keyword}", value)
    page.keyboard.press("Enter")
    expect(page.locator("#h-nodes")).to_be_visible()


def test_query_and_retrieve_take_six_clicks_at_most(visitor, nodes):
    page = visitor.page
    page.goto("/")
    page.get_by_role("link", name="Query", exact=True).click()
    expect(page.locator("#k-PatientName")).to_be_focused()
    page.keyboard.type("quer")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="9 found")).to_be_visible()
    expect(page.get_by_text("Complete: the node has sent every match")).to_be_visible()
    rows = page.locator("tbody tr")
    assert sum(box["y"] + box["height"] <= 720 - 45 for box in boxes(rows)) >= 8
    expect(page.locator("tbody td", has_text=re.compile("^no$")).first).to_be_visible()
    # Another one than that of which a single image is retrieved below.
    rows.filter(has_text="Q-1").locator("[name=selected]").check()
    page.click("button:has-text('Retrieve selected')")
    expect(page.locator("#h-state .badge")).to_have_text("Complete")
    expect(page.get_by_text("the node has told everything")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Query, Number")
    expect(page.locator("dl.facts")).not_to_contain_text("so far")
    page.go_back()
    expect(page.locator("tbody .badge.good").first).to_have_text("5")


def boxes(rows):
    return [row.bounding_box() for row in rows.all()]


@pytest.mark.parametrize(
    ("node", "patient", "images"), [("Orthanc", "Q-3", 2), ("dcmqrscp", "DC-1", 4)]
)
def test_images_are_found_by_clicks_and_retrieved(
    visitor, nodes, running_suite, node, patient, images
):
    page = visitor.page
    page.goto("/")
    ask(page, node, PatientID=patient)
    page.locator("tbody th button").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Series of the study")
    modality = page.locator("td", has_text=re.compile("^CT$"))
    page.locator("tbody tr", has=modality).locator("th button").click()
    expect(page.get_by_role("heading", name=f"{images} found")).to_be_visible()
    name = page.get_by_role("heading", level=1).inner_text().partition(": ")[2]
    assert name in {"Query, Number 3", "Müller, Eva"}
    page.locator("[name=selected]").first.check()
    page.click("button:has-text('Retrieve selected')")
    expect(page.locator("#h-state .badge")).to_have_text("Complete")
    expect(page.locator(".big")).to_contain_text("1 of 1")
    stored = "SELECT s.instance_count AS n FROM studies s JOIN patients p ON p.id = s.patient_pk"
    assert running_suite.rows(f"{stored} WHERE p.patient_id = :id", id=patient) == [{"n": 1}]
    page.goto("/jobs")
    expect(page.locator("tbody tr").first).to_contain_text(name)
    expect(page.locator("tbody tr").first).to_contain_text("1 image")

    page.get_by_role("link", name="New query").click()
    page.get_by_label(node, exact=True).check()
    page.fill("#k-PatientID", patient)
    page.select_option("#level", "PATIENT")
    page.click("button:has-text('Query')")
    page.locator("tbody tr", has_text=name).locator("[name=selected]").check()
    page.click("button:has-text('Retrieve selected')")
    expect(page.locator("#h-state .badge")).to_have_text("Complete")
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def test_a_tick_stays_with_its_study_while_others_come_and_go(visitor, nodes, hung):
    page = visitor.page
    page.goto("/queries/new")
    for box in page.locator("input[name=node_id]").all():
        box.set_checked(box.get_attribute("value") == hung)
    page.get_by_label("Orthanc", exact=True).check()
    page.fill("#k-PatientName", "Query")
    page.keyboard.press("Enter")
    rows = page.locator("table.results tbody tr")
    expect(rows).to_have_count(9)
    ticked = rows.nth(4)
    value, name = ticked.locator("[name=selected]").input_value(), ticked.locator("th").inner_text()
    ticked.locator("[name=selected]").check()
    page.click("summary:has-text('Options')")
    page.get_by_label("Not before (Europe/Berlin)").fill("2099-06-01T12:00")
    fragment = page.locator("#results").evaluate("""results => {
        const copy = results.cloneNode(true);
        copy.querySelector("table.results tbody tr").remove();
        copy.querySelector("[data-zoned]").parentElement.innerHTML = `
            <label for="not_before">Not before (UTC)</label>
            <input id="not_before" name="not_before" type="datetime-local">`;
        return copy.innerHTML.replaceAll("\\n", " ");
    }""")
    page.route(
        "**/live/queries/**",
        lambda route: route.fulfill(content_type="text/event-stream", body=f"data: {fragment}\n\n"),
    )
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(rows).to_have_count(8)
    ticks = page.locator("[name=selected]:checked")
    expect(ticks).to_have_count(1)
    assert ticks.input_value() == value
    expect(page.locator("tr", has=ticks)).to_contain_text(name.splitlines()[0])
    expect(page.get_by_label("Not before (Europe/Berlin)")).to_have_value("2099-06-01T12:00")
    assert page.locator("input[type=hidden][name=not_before]").input_value() == (
        "2099-06-01T10:00:00.000Z"
    )


def test_nothing_found_says_who_answered_and_offers_the_wider_query(visitor, nodes):
    page = visitor.page
    page.goto("/")
    ask(page, "dcmqrscp", PatientName="ller, Eva", StudyDate="01.11.2020")
    empty = page.locator(".empty")
    expect(empty).to_contain_text("dcmqrscp has answered")
    expect(empty).to_contain_text("ller^Eva*")
    expect(empty).to_contain_text("20201101")
    any_date = page.get_by_role("button", name="Look on any date")
    any_date.click()
    # The next answer has the other button too: only without this one is it that answer.
    expect(any_date).to_have_count(0)
    page.get_by_role("button", name="Look for these words anywhere").click()
    expect(page.locator("tbody th", has_text="Müller, Eva")).to_be_visible()


def test_a_query_is_saved_run_with_days_of_today_and_deleted(visitor, nodes):
    page = visitor.page
    page.goto("/queries")
    page.get_by_label("Orthanc", exact=True).check()
    page.fill("#k-ModalitiesInStudy", "CT")
    page.select_option("#study_dates", "last_7_days")
    page.click("summary:has-text('Save this query')")
    page.click("button:has-text('Save')")
    expect(page.locator("#h-saved_name .error")).to_be_visible()
    assert visitor.complaints.pop().count("422")
    expect(page.locator("#k-ModalitiesInStudy")).to_have_value("CT")
    page.fill("#saved_name", "CT of the week")
    page.check("#saved_shared")
    page.click("button:has-text('Save')")
    saved = page.locator("tr", has_text="CT of the week")
    expect(saved).to_contain_text("Last 7 days")
    saved.get_by_role("link", name="Edit").click()
    expect(page.locator("#study_dates")).to_have_value("last_7_days")
    expect(page.locator("#saved_name")).to_have_value("CT of the week")
    page.go_back()
    saved.get_by_role("button", name="Run").click()
    expect(page.get_by_text(re.compile(r"StudyDate \d{8}-\d{8}")).first).to_be_visible()
    page.goto("/queries")
    saved.get_by_role("link", name="Delete").click()
    page.click("button:has-text('Delete')")
    expect(page.get_by_role("status")).to_contain_text("deleted")
    expect(saved).to_have_count(0)


def test_the_history_is_narrowed_in_the_browsers_time(visitor, nodes):
    page = visitor.page
    page.goto("/queries?created_by=admin")
    expect(page).to_have_url(re.compile(r"/queries/history\?created_by=admin$"))
    before = page.locator("tbody tr").count()
    assert before > 0
    shown = page.locator("tbody time").first.inner_text()[:16].replace(" ", "T")
    page.fill("#since", shown)
    page.click("button:has-text('Filter')")
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.locator("#since")).to_have_value(shown)
    page.fill("#until", "2020-01-01T00:00")
    page.click("button:has-text('Filter')")
    expect(page.get_by_text("No query matches")).to_be_visible()


def test_a_job_says_why_it_waits_and_what_happens_next(visitor, nodes):
    [node] = [n for n in nodes.get("/api/v1/nodes").json()["items"] if n["name"] == "dcmqrscp"]
    assert nodes.post(f"/api/v1/nodes/{node['id']}/pause").status_code == 200
    item = {"patient_id": "DC-1"}
    body = {"node_id": node["id"], "items": [item], "force": True}
    job = nodes.post("/api/v1/retrieves", json=body).json()
    page = visitor.page
    page.goto("/jobs")
    row = page.locator("tbody tr", has_text="DC-1").first
    expect(row).to_contain_text("dcmqrscp is paused")
    row.locator("a").click()
    expect(page.locator("[data-wait]")).to_contain_text("begins when the node is resumed")
    assert nodes.post(f"/api/v1/nodes/{node['id']}/resume").status_code == 200
    expect(page.locator("#h-state .badge")).to_have_text("Complete")
    expect(page.locator("[data-wait]")).to_have_count(0)
    assert job["state"] == "queued"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_fit_a_phone_and_have_no_issue(browser, running_suite, first, nodes, theme):
    long_name = f"{theme:W<64}"
    body = {"name": long_name, "ae_title": "LONG", "host": "127.0.0.1", "port": free_port()}
    long = nodes.post("/api/v1/nodes", json=body).raise_for_status().json()["id"]
    asked = {"level": "STUDY", "keys": {"PatientID": "Q-1"}, "node_ids": [long]}
    nodes.post("/api/v1/queries", json=asked).raise_for_status()
    keys = {"study_instance_uid": "1.2"}
    waiting = nodes.post("/api/v1/retrieves", json={"node_id": long, "items": [keys]})
    waiting = waiting.raise_for_status().json()["id"]
    visitor = Visitor(
        browser, running_suite.web_url, viewport=PHONE, color_scheme=theme, bypass_csp=True
    ).share(first)
    query = {
        level: running_suite.rows(
            "SELECT id FROM queries WHERE level = :level ORDER BY created_at DESC LIMIT 1",
            level=level,
        )[0]["id"]
        for level in ("PATIENT", "STUDY", "SERIES", "IMAGE")
    }
    job = running_suite.rows("SELECT id FROM jobs WHERE kind = 'retrieve' LIMIT 1")[0]["id"]
    wrong = []
    for path in (
        "/queries", "/queries/history", "/batch-queries/new", "/jobs", "/jobs/all", "/batches/new",
        f"/jobs/{job}", f"/jobs/{waiting}", f"/nodes/{long}",
        *(f"/queries/{one}" for one in query.values()),
    ):  # fmt: skip
        assert visitor.page.goto(path).ok
        wrong += [f"{path} {issue}" for issue in visitor.all_issues()]
        wrong += [f"{path} {misfit}" for misfit in visitor.misfits()]
    visitor.close()
    assert wrong == []
