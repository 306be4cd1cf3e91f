"""A standing query of the running suite, with Orthanc as node: over REST and on the page.

And what rules retrieve from the same node. What becomes of nodes that err, and of two replicas, is
in tests/integration/api.
"""

import pytest
from playwright.sync_api import expect
from pydicom.uid import generate_uid

from support import browser as browsers
from support import datasets, peers, senders
from support.browser import PHONE, Visitor
from support.delivered import deliveries, put_rules
from support.suite import signed_in
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

HERE = "/api/v1/standing-queries"
PATIENT = "STANDING"
DAYS = ("20260101", "20260102", "20260103", "20260104")


class Nightly:
    """A standing query for the four studies of a patient, of which the oldest is here."""

    def __init__(self, suite, client, orthanc, node_id):
        self.suite = suite
        self.client = client
        self.orthanc = orthanc
        self.node_id = node_id

    def add(self, name, **given):
        query = {"keys": {"PatientID": PATIENT}, "node_ids": [self.node_id]}
        body = {"name": name, "query": query, "schedule": "0 2 * * *", "zone": "Europe/Berlin"}
        answer = self.client.post(HERE, json=body | given)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def runs(self, number):
        return self.client.get(f"{HERE}/{number}/runs").raise_for_status().json()["items"]

    def ended(self, number, runs=1):
        """Return the last run once so many have ended."""
        assert wait_until(
            lambda: [bool(run["finished_at"]) for run in self.runs(number)] == [True] * runs, 60
        ), self.runs(number)
        return self.runs(number)[0]

    def days_here(self):
        rows = self.suite.rows(
            "SELECT s.study_date, s.instance_count FROM studies s JOIN patients p"
            " ON p.id = s.patient_pk WHERE p.patient_id = :patient ORDER BY 1",
            patient=PATIENT,
        )
        return [(f"{row['study_date']:%Y%m%d}", row["instance_count"]) for row in rows]


@pytest.fixture(scope="module")
def nightly(running_suite, tmp_path_factory):
    studies = [
        datasets.series(
            3,
            PatientName="Standing^Query",
            PatientID=PATIENT,
            StudyInstanceUID=generate_uid(),
            StudyDate=day,
        )
        for day in DAYS
    ]
    with (
        peers.orthanc(tmp_path_factory.mktemp("orthanc"), running_suite.dicom_port) as orthanc,
        signed_in(running_suite.web_url) as client,
    ):
        for study in studies:
            peers.fill(orthanc, study)
        assert set(senders.send_objects(running_suite.dicom_port, studies[0])) == {0}
        running_suite.wait_for_rows(3, "SELECT id FROM instances", 20)
        node = {"name": "Archive", "ae_title": orthanc.ae_title, "host": "127.0.0.1"}
        added = client.post("/api/v1/nodes", json=node | {"port": orthanc.port})
        yield Nightly(running_suite, client, orthanc, added.raise_for_status().json()["id"])


def test_a_due_query_brings_the_newest_of_what_is_not_here_also_if_the_api_dies_meanwhile(nightly):
    number = nightly.add("due", most=2)
    nightly.suite.execute("UPDATE standing_queries SET next_run_at = now() - interval '3 days'")
    assert wait_until(lambda: nightly.suite.rows("SELECT id FROM standing_query_runs"), 20)
    nightly.suite.kill("api")
    nightly.suite.start("api")
    run = nightly.ended(number)
    counts = {name: run[name] for name in ("found", "already_here", "requested", "left_out")}
    assert counts == {"found": 4, "already_here": 1, "requested": 2, "left_out": 1}
    assert run["state"] == "partial"
    assert nightly.days_here() == [(DAYS[0], 3), (DAYS[2], 3), (DAYS[3], 3)]
    assert len(nightly.suite.rows("SELECT id FROM queries")) == 1
    # What was left out comes with the next run, and then nothing is asked for.
    nightly.client.post(f"{HERE}/{number}/run").raise_for_status()
    run = nightly.ended(number, 2)
    assert (run["state"], run["requested"], run["left_out"]) == ("complete", 1, 0)
    assert [day for day, _ in nightly.days_here()] == list(DAYS)
    nightly.client.post(f"{HERE}/{number}/run").raise_for_status()
    run = nightly.ended(number, 3)
    assert (run["state"], run["already_here"], run["requested"]) == ("complete", 4, 0)


def test_a_rule_brings_the_newest_earlier_studies_of_the_patient(nightly):
    suite = nightly.suite
    suite.admin = nightly.client
    days = ("20260510", "20260410", "20260310")
    dated = [datasets.series(2, PatientID="EARLIER", StudyDate=day) for day in days]
    for study in dated:
        peers.fill(nightly.orthanc, study)
    rule = {"subject": "PatientID", "operator": "equals", "value": "EARLIER"}
    target = {"kind": "priors", "name": "priors", "remote_node": "Archive", "most": 2}
    put_rules(
        suite,
        {
            "destinations": [target],
            "rules": [{"name": "earlier", "when": rule, "destinations": ["priors"]}],
        },
    )
    today = datasets.series(2, PatientID="EARLIER", StudyDate="20261130")
    assert set(senders.send_objects(suite.dicom_port, today)) == {0}
    series = [one[0].SeriesInstanceUID for one in (today, *dated[:2])]
    # The earlier ones are complete then, too, and bring nothing more.
    assert wait_until(
        lambda: [d["state"] for d in deliveries(suite, *series)] == ["delivered"] * 3, 60
    ), deliveries(suite, *series)
    put_rules(suite, {"rules": []})
    here = suite.rows(
        "SELECT s.study_instance_uid AS uid FROM studies s JOIN patients p ON p.id = s.patient_pk"
        " WHERE p.patient_id = 'EARLIER'"
    )
    assert {row["uid"] for row in here} == {one[0].StudyInstanceUID for one in (today, *dated[:2])}


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def first(browser, nightly):
    visitor = Visitor(browser, nightly.suite.web_url).sign_in()
    yield visitor
    visitor.close()


def test_a_person_without_scripts_asks_a_query_every_night(browser, nightly, first):  # noqa: PLR0915 - one visit
    visitor = Visitor(browser, nightly.suite.web_url, java_script_enabled=False).share(first)
    page = visitor.page
    keys = {"keys": {"PatientID": PATIENT}, "node_ids": [nightly.node_id]}
    query = nightly.client.post("/api/v1/queries", json=keys).raise_for_status().json()
    page.goto(f"/queries/{query['id']}")
    page.click("text=Ask this regularly")
    page.fill("#f-name", "Nightly")
    page.select_option("#f-study_dates", "")
    page.select_option("#f-every", "weekdays")
    page.fill("#f-at", "23:15")
    page.fill("#f-zone", "Europe/Atlantis")
    page.click("button:has-text('Save')")
    expect(page.locator("#h-zone")).to_contain_text("must be the name of a time zone")
    expect(page.locator("#f-at")).to_have_value("23:15")
    page.fill("#f-zone", "Europe/Berlin")
    page.click("button:has-text('Save')")
    expect(page.locator("main")).to_contain_text("Monday to Friday at 23:15")
    expect(page.locator("main")).to_contain_text("It has not run yet")
    page.click("button:has-text('Run now')")
    number = int(page.url.rpartition("/")[2])
    assert nightly.ended(number)["state"] == "complete"
    page.reload()
    row = page.locator("#h-runs >> xpath=../..").locator("tbody tr")
    expect(row).to_contain_text("Complete")
    expect(row).to_contain_text("run by admin")
    row.locator("a").first.click()
    expect(page.locator("h1")).to_contain_text("Query results")
    page.goto(f"/queries/standing/{number}")
    page.click("button:has-text('Pause')")
    expect(page.locator("main")).to_contain_text("It is not asked until it is resumed")
    page.click("button:has-text('Resume')")
    page.click("main a:has-text('Edit')")
    expect(page.locator("#f-every")).to_have_value("weekdays")
    page.select_option("#f-every", "cron")
    page.fill("#f-cron", "* * * * *")
    page.click("button:has-text('Save')")
    expect(page.locator("#h-cron")).to_contain_text("every 5 minutes at most")
    page.fill("#f-cron", "0 */6 * * *")
    page.click("button:has-text('Save')")
    expect(page.locator("main")).to_contain_text("every 6 hours")
    page.click("main a:has-text('Delete')")
    page.click("button:has-text('Delete')")
    expect(page.locator("main")).not_to_contain_text("Nightly")
    visitor.close()


@pytest.mark.parametrize("language", ["en", "de"])
def test_its_pages_fit_a_phone_and_have_no_issue(browser, nightly, first, language):
    number = nightly.add(f"{language:W<64}")
    visitor = Visitor(
        browser, nightly.suite.web_url, viewport=PHONE, locale=language, bypass_csp=True
    ).share(first)
    wrong = []
    for path in ("", "/new", f"/{number}", f"/{number}/edit", f"/{number}/remove"):
        assert visitor.page.goto(f"/queries/standing{path}").ok
        wrong += [f"{path} {issue}" for issue in visitor.all_issues()]
        wrong += [f"{path} {misfit}" for misfit in visitor.misfits()]
    visitor.close()
    assert wrong == []
    nightly.client.delete(f"{HERE}/{number}").raise_for_status()
