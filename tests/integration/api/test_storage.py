"""Storage care and the change feed over REST, with a real database and volume.

Not covered: files that go after a deletion, deliveries (tests/integration/indexer).
"""

import contextlib
import io
import re
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session

from draw_indexer.adapters.deletions import PostgresExpiredStudyRepository
from draw_shared.contracts.server_config import BYTES_PER_GB, EVERYTHING
from draw_shared.db.migrate import seed_config
from draw_shared.storage.incoming import NoSpace
from draw_shared.storage.space import Space, SpaceLimits
from support import datasets
from support.api import ApiHarness
from support.indexed import IndexedStorage
from support.receptions import receive, same_instance
from support.small_disk import fill, mounted
from support.suite import all_pages
from support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def archive(api, database, tmp_path):
    made = IndexedStorage(tmp_path, database)
    yield made
    made.close()


@pytest.fixture
def admin(api, archive):
    return api.of_role("admin")


def study(archive, count=1, days_ago=0, **elements):
    objects = datasets.series(count, **elements)
    archive.receive(*objects, days_ago=days_ago)
    return objects[0].StudyInstanceUID


def set_storage(archive, **settings):
    for name, value in settings.items():
        archive.execute(
            "UPDATE server_config SET document = jsonb_set(document,"
            " ARRAY['storage', :n], CAST(:v AS jsonb))",
            n=name,
            v=str(value).lower(),
        )


# --- who may delete -------------------------------------------------------------------


def test_an_operator_deletes_nothing_on_page_or_rest(api, admin, archive):
    uid = study(archive)
    operator = api.of_role("operator")
    assert operator.get(f"/studies/{uid}/delete").status_code == 403
    form = {"reason": "because", "csrf_token": operator.headers["X-CSRF-Token"]}
    assert operator.post(f"/studies/{uid}/delete", data=form).status_code == 403
    refused = operator.delete(f"/api/v1/studies/{uid}", params={"reason": "because"})
    assert refused.status_code == 403
    shown = operator.get(f"/studies/{uid}").text
    assert "/hold" in shown
    assert "/delete" not in shown
    assert archive.studies() == {uid}
    assert f"/studies/{uid}/delete" in admin.get(f"/studies/{uid}").text
    form["csrf_token"] = admin.headers["X-CSRF-Token"]
    assert admin.post(f"/studies/{uid}/delete", data=form).status_code == 303
    assert archive.studies() == set()


# --- usage ---------------------------------------------------------------------------


def test_usage_counts_every_file_once(admin, archive):
    objects = datasets.series(2, size_bytes=5000)
    archive.receive(*objects)
    archive.receive(same_instance(objects[0], StudyDescription="other bytes"))
    usage = admin.get("/api/v1/storage").raise_for_status().json()
    assert usage["used_bytes"] == sum((archive.root / p).stat().st_size for p in archive.files())
    assert (usage["studies"], usage["instances"], usage["conflicts"]) == (1, 2, 1)
    assert usage["limit_bytes"] == 100 * BYTES_PER_GB
    assert usage["disk_total_bytes"] > usage["disk_free_bytes"] > 0
    assert usage["refusing"] is None


def test_a_full_quota_is_told(admin, archive):
    study(archive)
    archive.execute("UPDATE studies SET size_bytes = 2000000000")
    set_storage(archive, max_storage_gb=1)
    assert admin.get("/api/v1/storage").json()["refusing"] == "quota"


def test_without_a_quota_only_the_disk_is_a_limit(admin, archive):
    study(archive)
    archive.execute("UPDATE studies SET size_bytes = 2000000000")
    set_storage(archive, max_storage_gb=0)
    usage = admin.get("/api/v1/storage").raise_for_status().json()
    assert (usage["limit_bytes"], usage["refusing"]) == (None, None)
    assert usage["room_bytes"] == usage["disk_free_bytes"] - usage["min_free_bytes"]
    status = admin.get("/api/v1/status").raise_for_status().json()
    assert (status["storage"]["limit_bytes"], status["storage"]["refusing"]) == (None, None)
    for page in ("/storage", "/"):
        assert "(no quota: the disk is the limit)" in admin.get(page).raise_for_status().text


@pytest.fixture
def small(database_url, tmp_path):
    """An administrator's client of an API whose storage is a small disk, and the receiver there."""
    with (
        mounted(tmp_path / "disk", "size=256m,nr_inodes=60") as root,
        ApiHarness(database_url, root) as api,
        Session(api.database.engine) as session,
    ):
        seed_config(session, EVERYTHING)
        session.commit()
        yield api.of_role("admin"), Space(root), root


def told(client):
    """Return why objects are refused, as REST, page and dashboard have it."""
    usage = client.get("/api/v1/storage").raise_for_status().json()
    status = client.get("/api/v1/status").raise_for_status().json()
    assert status["storage"]["refusing"] == usage["refusing"]
    for page in ("/storage", "/"):
        text = client.get(page).raise_for_status().text
        assert ("mages are refused (0xA700)" in text) == bool(usage["refusing"])
        assert ("Forecast not known yet" in text) != bool(usage["refusing"])
    return usage["refusing"]


def refuses(space):
    try:
        space.require(SpaceLimits(100 * BYTES_PER_GB, 2))
    except NoSpace as reason:
        return str(reason)
    return None


def test_receiver_rest_and_page_say_the_same_of_a_full_disk(small):
    client, receiver, root = small
    assert (told(client), refuses(receiver)) == (None, None)
    # Above what must stay free, but only just.
    filler = fill(root, leave=256 * 2**20 * 2 // 100 + 8192)
    assert wait_until(lambda: refuses(receiver))
    assert "disk" in refuses(receiver)
    assert told(client) == "disk"
    filler.unlink()
    assert wait_until(lambda: not refuses(receiver), 60)
    assert told(client) is None
    with contextlib.suppress(OSError):
        for number in range(100):
            (root / f"{number}").touch()
    assert wait_until(lambda: refuses(receiver))
    assert "inodes" in refuses(receiver)
    assert told(client) == "inodes"


def test_growth_and_the_day_on_which_it_is_full(admin, archive):
    today = datetime.now(UTC).date()
    for days, gigabytes in ((0, 50), (1, 3), (2, 1), (3, 0)):
        archive.execute(
            "INSERT INTO reception_days VALUES (:d, 10, :b)",
            d=today - timedelta(days=days),
            b=gigabytes * BYTES_PER_GB,
        )
    growth = admin.get("/api/v1/storage/growth", params={"days": 5}).json()
    assert [day["size_bytes"] // BYTES_PER_GB for day in growth] == [0, 0, 1, 3, 50]
    usage = admin.get("/api/v1/storage").json()
    forecast = usage["forecast"]
    assert forecast["days_observed"] == 3
    assert forecast["bytes_per_day"] == 4 * BYTES_PER_GB // 3
    room = usage["disk_free_bytes"] - usage["min_free_bytes"]
    expected = min(room, 100 * BYTES_PER_GB) / (4 * BYTES_PER_GB // 3)
    assert forecast["full_in_days"] == pytest.approx(expected, abs=0.2)


def test_with_clean_up_that_keeps_pace_it_is_never_full(admin, archive):
    day = datetime.now(UTC).date() - timedelta(days=1)
    archive.execute("INSERT INTO reception_days VALUES (:d, 10, 1000000)", d=day)
    assert admin.get("/api/v1/storage").json()["forecast"]["full_in_days"] is not None
    set_storage(archive, clean_up=True)
    assert admin.get("/api/v1/storage").json()["forecast"]["full_in_days"] is None


def test_the_largest_come_first_page_by_page(admin, archive):
    sizes = {}
    for number in range(5):
        uid = study(archive, PatientID=f"P{number}", size_bytes=3000 * (number + 1))
        sizes[uid] = number
    found = all_pages(admin, "/api/v1/storage/studies", limit=2)
    assert [sizes[s["study_instance_uid"]] for s in found] == [4, 3, 2, 1, 0]
    assert {(s["patient_id"], s["patient_name"]) for s in found} >= {
        ("P4", found[0]["patient_name"])
    }
    patients = all_pages(admin, "/api/v1/storage/patients", limit=2)
    assert [p["patient_id"] for p in patients] == ["P4", "P3", "P2", "P1", "P0"]
    (modality,) = admin.get("/api/v1/storage/modalities").json()
    assert (modality["modality"], modality["instances"]) == ("CT", 5)
    assert modality["size_bytes"] == sum(s["size_bytes"] for s in found)


def test_what_arrived_last_of_each_modality_is_told_with_its_sender(admin, archive):
    study(archive, days_ago=3)
    for modality, days in (("MR", 2), ("CT", 1)):
        study(archive, 2, days_ago=days, Modality=modality)
    found = admin.get("/api/v1/throughput/last-received").raise_for_status().json()
    assert [(one["modality"], one["calling_ae"]) for one in found] == [
        ("CT", "SENDER"),
        ("MR", "SENDER"),
    ]
    assert found[0]["received_at"] > found[1]["received_at"]


def test_a_series_is_downloaded_alone(api, admin, archive):
    wanted, other = datasets.series(2), datasets.series(1)
    for one in other:
        one.StudyInstanceUID = wanted[0].StudyInstanceUID
    archive.receive(*wanted, *other)
    study_uid, series_uid = wanted[0].StudyInstanceUID, wanted[0].SeriesInstanceUID
    for prefix, ending in (("/api/v1", ""), ("", ".zip")):
        answer = admin.get(f"{prefix}/studies/{study_uid}/series/{series_uid}/archive{ending}")
        with zipfile.ZipFile(io.BytesIO(answer.raise_for_status().content)) as found:
            assert set(found.namelist()) == {f"{one.SOPInstanceUID}.dcm" for one in wanted}
    assert admin.get(f"/studies/1.2.3/series/{series_uid}/archive.zip").status_code == 404
    assert [action for _, action, _ in api.actions()].count("series.download") == 2


# --- the dry run ---------------------------------------------------------------------


def test_the_dry_run_lists_exactly_what_goes(admin, archive, database):
    going = [study(archive, days_ago=days) for days in (60, 50, 40)]
    held = study(archive, days_ago=70)
    admin.put(f"/api/v1/studies/{held}/hold", json={"reason": "research"}).raise_for_status()
    study(archive, days_ago=20)
    again = datasets.series(1)
    archive.receive(*again, days_ago=80)
    archive.store.release([receive(archive.store, again[0])[0]])
    arriving = datasets.series(2)
    archive.receive(arriving[0], days_ago=90)
    receive(archive.store, arriving[1])
    preview = admin.get("/api/v1/storage/clean-up").raise_for_status().json()
    assert (preview["enabled"], preview["waiting"]) == (False, False)
    listed = all_pages(admin, "/api/v1/storage/clean-up", limit=2)
    assert [s["study_instance_uid"] for s in listed] == going
    before = archive.studies()
    deletions = PostgresExpiredStudyRepository(database, archive.root, replica="test")
    for uid in deletions.expired(30):
        deletions.delete_expired(uid, 30)
    assert before - archive.studies() == set(going)


def test_another_retention_can_be_tried(admin, archive):
    uid = study(archive, days_ago=20)
    answer = admin.get("/api/v1/storage/clean-up", params={"retention_days": 10}).json()
    assert [s["study_instance_uid"] for s in answer["items"]] == [uid]
    assert answer["retention_days"] == 10


def test_what_the_preview_shows_can_be_cleaned_up_at_once(api, admin, archive):
    going, sent_again, held = (study(archive, days_ago=days) for days in (60, 50, 40))
    young = study(archive, days_ago=20)
    assert "/selection/clean-up" not in api.of_role("operator").get("/storage/clean-up").text
    preview = admin.get("/storage/clean-up").text
    named = re.findall(r'name="study" value="([0-9.]+)"', preview)
    assert named == [going, sent_again, held]
    form = {"csrf_token": admin.headers["X-CSRF-Token"], "back": "/storage/clean-up?days=30"}
    form |= {"days": "30", "study": [*named, young]}
    question = admin.post("/selection/clean-up", data=form).text
    assert "Clean up now?" in question
    assert archive.studies() == {going, sent_again, held, young}
    # Between the question and its answer things happen.
    admin.put(f"/api/v1/studies/{held}/hold", json={"reason": "research"}).raise_for_status()
    archive.execute(
        "UPDATE studies SET last_received_at = now() WHERE study_instance_uid = :uid",
        uid=sent_again,
    )
    form |= {"confirmed": "yes", "reason": ""}
    assert admin.post("/selection/clean-up", data=form).status_code == 422
    done = admin.post("/selection/clean-up", data=form | {"reason": "full disk"})
    assert done.text.count("The clean-up would not delete this study any more.") == 3
    assert archive.studies() == {sent_again, held, young}
    assert admin.post("/selection/clean-up", data=form | {"days": "0"}).status_code == 422
    operator = api.of_role("operator")
    form["csrf_token"] = operator.headers["X-CSRF-Token"]
    assert operator.post("/selection/clean-up", data=form).status_code == 403


# --- hold, release, delete -----------------------------------------------------------


def test_a_held_study_cannot_be_deleted_until_released(admin, archive, api):
    uid = study(archive)
    path = f"/api/v1/studies/{uid}"
    admin.put(f"{path}/hold", json={"reason": "court order"}).raise_for_status()
    assert admin.get(path).json()["held"] is True
    refused = admin.delete(path, params={"reason": "too old"})
    assert refused.status_code == 409
    assert admin.get(path).json()["held"] is True, "the refusal has not released it"
    admin.delete(f"{path}/hold").raise_for_status()
    gone = admin.delete(path, params={"reason": "too old"}).raise_for_status().json()
    assert gone["instances"] == 1
    assert admin.get(path).status_code == 404
    actions = [(action, detail) for _, action, detail in api.actions()][-3:]
    assert actions[0] == ("study.hold", "court order")
    assert actions[1][0] == "study.release"
    assert actions[2][0] == "study.delete" and actions[2][1].endswith(": too old")


def test_deletion_needs_a_reason_and_an_administrator(admin, archive, api):
    path = f"/api/v1/studies/{study(archive)}"
    assert admin.delete(path).status_code == 422
    assert api.of_role("operator").delete(path, params={"reason": "because"}).status_code == 403
    assert admin.get(path).status_code == 200


def test_a_study_that_a_job_is_at_is_not_deleted(admin, archive):
    uid = study(archive)
    archive.execute(
        "INSERT INTO jobs (id, kind, state, parameters) VALUES (gen_random_uuid(), 'store',"
        " 'running', jsonb_build_object('study_instance_uid', CAST(:u AS text)))",
        u=uid,
    )
    answer = admin.delete(f"/api/v1/studies/{uid}", params={"reason": "too old"})
    assert answer.status_code == 409


@pytest.mark.parametrize(("state", "status"), [("running", 409), ("waiting", 200)])
def test_a_study_is_deleted_while_its_delivery_waits_but_not_while_it_is_sent(
    admin, archive, state, status
):
    uid = study(archive)
    archive.execute(
        "INSERT INTO jobs (id, kind, state, parameters) VALUES (gen_random_uuid(), 'deliver',"
        " :state, jsonb_build_object('study_instance_uid', CAST(:u AS text)))",
        u=uid,
        state=state,
    )
    answer = admin.delete(f"/api/v1/studies/{uid}", params={"reason": "too old"})
    assert answer.status_code == status


def test_a_study_that_is_only_set_aside_is_deleted_by_its_uid(admin, archive):
    made = datasets.build()
    archive.receive(made)
    aside = datasets.build(SOPInstanceUID=made.SOPInstanceUID)
    archive.receive(aside)
    path = f"/api/v1/studies/{aside.StudyInstanceUID}"
    assert admin.get(path).status_code == 404
    gone = admin.delete(path, params={"reason": "withdrawn"}).raise_for_status().json()
    assert (gone["instances"], gone["files"]) == (0, 1)
    assert admin.delete(path, params={"reason": "again"}).status_code == 404
    archive.settle()
    assert archive.studies() == {made.StudyInstanceUID}


def test_studies_that_are_not_there_are_not_found(admin, archive):
    assert admin.put("/api/v1/studies/1.2.3/hold", json={"reason": "any"}).status_code == 404
    assert admin.delete("/api/v1/studies/1.2.3/hold").status_code == 404
    assert admin.delete("/api/v1/studies/1.2.3", params={"reason": "any"}).status_code == 404


# --- the feed ------------------------------------------------------------------------


def test_the_feed_is_read_on_without_gap_or_repetition(admin, archive):
    uids = [study(archive, count=3) for _ in range(3)]
    admin.delete(f"/api/v1/studies/{uids[0]}", params={"reason": "too old"}).raise_for_status()
    seen, since = [], 0
    while True:
        answer = admin.get("/api/v1/changes", params={"since": since, "limit": 4}).json()
        seen += answer["items"]
        since = answer["next_since"]
        if not answer["more"]:
            break
    numbers = [change["sequence"] for change in seen]
    assert numbers == sorted(set(numbers))
    assert [change["kind"] for change in seen] == ["instance.stored"] * 9 + ["study.deleted"]
    assert admin.get("/api/v1/changes", params={"since": since}).json()["items"] == []
    later = study(archive)
    (new,) = admin.get("/api/v1/changes", params={"since": since}).json()["items"]
    assert new["study_instance_uid"] == later


def test_the_feed_can_be_narrowed_and_says_when_it_was_trimmed(admin, archive):
    uid = study(archive, count=2)
    admin.delete(f"/api/v1/studies/{uid}", params={"reason": "too old"}).raise_for_status()
    answer = admin.get("/api/v1/changes", params={"kind": "study.deleted", "limit": 1}).json()
    assert [change["kind"] for change in answer["items"]] == ["study.deleted"]
    assert answer["trimmed"] is False
    archive.execute("DELETE FROM changes WHERE kind = 'instance.stored'")
    assert admin.get("/api/v1/changes").json()["trimmed"] is True
