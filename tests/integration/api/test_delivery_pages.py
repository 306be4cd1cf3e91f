"""The pages of deliveries and destinations without JavaScript, and where else they are shown.

How they look in a browser is in tests/e2e/test_page_activity.py; REST is in test_deliveries.py.
"""

import html

import pytest

from draw_api.services import deliveries
from support import datasets
from support.indexed import IndexedStorage
from support.planned_deliveries import PlannedDeliveries

pytestmark = pytest.mark.integration

DELIVERIES = "/routing/deliveries"
DESTINATIONS = "/routing/destinations"
NAME = 'arch "<b>"?&#% 1'
ARCHIVE = {"kind": "folder", "name": NAME, "path": "/var/lib/handlers/archive"}
DESK = {"kind": "folder", "name": "desk", "path": "/var/lib/handlers/desk"}
GROUP = {"kind": "group", "name": "both", "mode": "failover", "members": [NAME, "desk"]}


@pytest.fixture
def made(api):
    made = PlannedDeliveries(api.database)
    made.put(ARCHIVE, DESK, GROUP)
    return made


@pytest.fixture
def operator(api):
    return api.of_role("operator")


def post(client, path, **fields):
    token = client.headers["X-CSRF-Token"]
    return client.post(path, data={"csrf_token": token, **fields}, follow_redirects=True)


def seen(client, path, **asked):
    answer = client.get(path, params=asked)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def test_destinations_are_listed_held_and_resumed(api, made, operator):
    made.deliver(NAME, state="waiting", age_seconds=7200)
    listed = operator.get(DESTINATIONS).text
    assert "<b>" not in listed
    listed = html.unescape(listed)
    assert "the folder /var/lib/handlers/archive" in listed
    assert "1 waiting after a failure" in listed
    assert "2 h 0" in listed.replace("\N{NO-BREAK SPACE}", " ")
    path = f"{DESTINATIONS}/arch%20%22%3Cb%3E%22%3F%26%23%25%201"
    assert f'href="{path}"' in operator.get(DESTINATIONS).text.replace("&#34;", '"')
    shown = post(operator, f"{path}/pause").text
    assert "Paused" in shown
    assert "Nothing new is begun there until it is resumed" in shown
    assert "by operator" in shown
    assert "Draining" in post(operator, f"{path}/drain").text
    assert "Running" in post(operator, f"{path}/resume").text
    assert made.state(NAME)["mode"] == "active"
    assert operator.get(f"{DESTINATIONS}/none").status_code == 404
    viewer = api.of_role("viewer")
    assert "/pause" not in viewer.get(DESTINATIONS).text
    assert post(viewer, f"{path}/pause").status_code == 403


def test_who_renames_or_removes_a_destination_sees_how_much_waits_for_it(api, made):
    for state in ("pending", "waiting", "delivered"):
        made.deliver("desk", state=state)
    admin = api.of_role("admin")
    form = seen(admin, "/routing/destination/edit", name="desk")
    assert "under its old name ends as failed (now: 2)" in form
    unnamed = {"destinations": [DESK], "rules": []}
    headers = {"If-Match": admin.get("/api/v1/routing").headers["ETag"]}
    assert admin.put("/api/v1/routing", json=unnamed, headers=headers).is_success
    asked = seen(admin, "/routing/destination/remove", name="desk")
    assert "Deliveries that wait" in asked
    assert ">2<" in asked


def test_destinations_of_another_release_are_said_not_to_be_readable(made, operator):
    made.put({"kind": "fax", "name": "fax"})
    assert "another release" in seen(operator, DESTINATIONS)
    assert operator.get(DELIVERIES).status_code == 200
    assert operator.get("/").status_code == 200


def test_deliveries_are_filtered_and_lead_to_themselves(made, operator):
    failed = made.deliver(NAME, state="failed", error="no room", study="1.2.9")
    waiting = made.deliver("desk", state="waiting")
    everything = seen(operator, DELIVERIES)
    assert f'id="d-{failed}"' in everything
    assert "no room" in everything
    for asked, there, not_there in (
        ({"destination": "desk"}, waiting, failed),
        ({"state": "open"}, waiting, failed),
        ({"state": "missing"}, failed, waiting),
        ({"state": "failed"}, failed, waiting),
        ({"study_instance_uid": "1.2.9"}, failed, waiting),
    ):
        listed = seen(operator, DELIVERIES, **asked)
        assert f'id="d-{there}"' in listed
        assert f'id="d-{not_there}"' not in listed
    made.put(ARCHIVE, DESK | {"name": "two  blanks"})
    apart = made.deliver("two  blanks")
    for name, there in (("two  blanks", apart), (" gone ", made.deliver(" gone "))):
        listed = seen(operator, DELIVERIES, destination=name)
        assert f'id="d-{there}"' in listed
        # A browser would send the text of an option without its blanks.
        assert f'<option value="{name}" selected>' in listed
    oldest = seen(operator, DELIVERIES, order="oldest")
    assert oldest.index(f'id="d-{failed}"') < oldest.index(f'id="d-{waiting}"')
    assert "No delivery matches" in seen(operator, DELIVERIES, destination="nowhere")
    detail = seen(operator, f"{DELIVERIES}/{failed}")
    assert "a rule" in detail
    assert "no room" in detail
    assert operator.get(f"{DELIVERIES}/999999").status_code == 404


def test_one_delivery_is_retried_and_given_up(made, operator):
    one = made.deliver("desk", state="failed", error="no room")
    path = f"{DELIVERIES}/{one}"
    assert "It is tried at once" in post(operator, f"{path}/retry").text
    assert made.delivery(one)["state"] == "pending"
    assert "Give this delivery up?" in seen(operator, f"{path}/give-up")
    assert "given up by operator" in post(operator, f"{path}/give-up").text
    assert made.delivery(one)["state"] == "failed"
    assert post(operator, f"{path}/give-up").status_code == 409


def test_ticked_deliveries_are_retried_and_given_up_or_it_is_said_why_not(api, made, operator):
    failed = [made.deliver("desk", state="failed") for _ in range(2)]
    arrived = made.deliver("desk", state="delivered")
    back = f"{DELIVERIES}?destination=desk"
    listed = post(operator, f"{DELIVERIES}/retry", delivery=failed, back=back)
    assert listed.url.query == b"destination=desk"
    assert "They are tried at once" in listed.text
    asked = post(operator, f"{DELIVERIES}/give-up", delivery=[*failed, arrived], back=back)
    assert "Give these deliveries up?" in asked.text
    assert made.delivery(failed[0])["state"] == "pending"
    answer = post(
        operator, f"{DELIVERIES}/give-up", delivery=[*failed, arrived], back=back, confirmed="yes"
    )
    assert "Nothing was done with 1 of 3 deliveries" in answer.text
    assert "It has arrived already" in answer.text
    assert made.delivery(failed[1])["state"] == "failed"
    assert "Tick the deliveries first" in post(operator, f"{DELIVERIES}/retry").text
    for action, nonsense in (("retry", ["0", "-5"]), ("give-up", ["0", "x", ""])):
        told = post(operator, f"{DELIVERIES}/{action}", delivery=nonsense, confirmed="yes")
        assert (told.status_code, "Tick the deliveries first" in told.text) == (409, True)
    assert operator.get(f"{DELIVERIES}/retry").headers["Location"] == DELIVERIES
    elsewhere = post(operator, f"{DELIVERIES}/retry", delivery=failed, back="//x.example/")
    assert elsewhere.url.path == DELIVERIES
    viewer = api.of_role("viewer")
    assert 'name="delivery"' not in viewer.get(DELIVERIES).text
    assert post(viewer, f"{DELIVERIES}/retry", delivery=failed).status_code == 403


def test_a_study_and_a_series_say_where_they_have_gone(api, tmp_path, made, operator):
    archive = IndexedStorage(tmp_path, api.database)
    [ds] = datasets.series(1)
    archive.receive(ds)
    archive.close()
    study, series = ds.StudyInstanceUID, ds.SeriesInstanceUID
    here = f"/studies/{study}"
    assert "No rule has sent it anywhere" in seen(operator, here)
    one = made.deliver(NAME, series=str(series), study=str(study), state="failed", error="no room")
    whole = made.deliver("desk", series="", study=str(study), state="delivered")
    before = made.deliver("desk", series="", study=str(study), age_seconds=3600)
    other = made.deliver("desk", study=str(study))
    for path in (here, f"{here}/series/{series}"):
        page = seen(operator, path)
        assert f'{DELIVERIES}/{one}"' in page
        assert "no room" in page
        assert "a rule" in page
        # With its study the series has gone there too, but not before it was here.
        assert f'{DELIVERIES}/{whole}"' in page
        assert (f'{DELIVERIES}/{before}"' in page) == (path == here)
        assert (f'{DELIVERIES}/{other}"' in page) == (path == here)


FAILED = """
    WITH decided AS (INSERT INTO routing_decisions (routing_version, trigger)
        SELECT 1, 'study_complete' FROM generate_series(1, :number) RETURNING id)
    INSERT INTO deliveries (decision_id, destination, state, error, give_up_at, finished_at)
    SELECT id, :destination, 'failed', :error, now(), now() - make_interval(days => :days)
    FROM decided
"""


def test_the_dashboard_names_what_failed_and_what_is_held(made, operator, monkeypatch):
    assert "have failed" not in seen(operator, "/")
    for _ in range(2):
        made.deliver("desk", state="failed", error="no room")
    made.deliver(NAME, state="failed", error="given up by somebody")
    made.deliver(NAME)
    made.hold(NAME, "paused")
    # Neither what was given up later nor what has failed elsewhere hides anything.
    made.execute(FAILED, number=120, destination="desk", error="given up by somebody", days=0)
    made.execute(FAILED, number=130, destination="gone", error="away", days=0)
    made.execute(FAILED, number=5, destination="gone", error="long ago", days=8)
    page = seen(operator, "/")
    assert "130 deliveries to gone have failed" in page
    assert "2 deliveries to desk have failed" in page
    assert "no room" in page
    assert f"The destination {NAME} is paused" in page
    assert "1 delivery waits" in page
    assert f"delivery to {NAME} has failed" not in page
    monkeypatch.setattr(deliveries, "MAX_FAILED", 100)
    assert "100+ deliveries to gone have failed" in seen(operator, "/")
