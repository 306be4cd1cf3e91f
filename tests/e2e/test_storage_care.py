"""Storage care, what follows a complete series, and draw-admin against the running suite.

Not covered: clean-up that is killed (tests/faults), what goes and stays in each case and each
failure of a delivery (tests/integration/indexer).
"""

import os
import re
import time
from contextlib import contextmanager

import psycopg
import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind
from standardwebhooks.webhooks import Webhook

from support import datasets, service_finder
from support.celery_worker import TASK, celery_worker
from support.delivered import put_rules
from support.hook_receiver import hook_receiver
from support.indexed import DAY, content_hash, stored_files
from support.receptions import same_instance
from support.senders import association, build_context, contexts_of, send_objects
from support.suite import Suite, all_pages, draw_admin, set_config, signed_in
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

TABLES = {
    "patients": "patient_id, issuer_of_patient_id, unidentified_study_uid",
    "studies": "study_instance_uid",
    "series": "series_instance_uid",
    "instances": "sop_instance_uid",
    "instance_conflicts": "sop_instance_uid, content_sha256",
    "reception_days": "day",
}
HOOK_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
NOT_CONTENT = ("id", "patient_pk", "study_pk", "series_pk", "created_at", "updated_at", "stable_at",
               "new_instance_count")  # fmt: skip


@pytest.fixture(scope="module")
def suite(tmp_path_factory, postgres_url, template, broker):
    """All four services; series are complete after a second, old studies go at once."""
    with (
        service_finder.cloned_database(postgres_url, template) as database_url,
        broker.vhost() as broker_url,
    ):
        made = Suite(
            tmp_path_factory.mktemp("suite"),
            database_url,
            broker_url,
            DRAW_INDEXER_CLEAN_UP_SECONDS="0.3",
            DRAW_INDEXER_STABILITY_SECONDS="0.2",
            DRAW_INDEXER_WEBHOOK_PAUSES_SECONDS="[0.3, 0.3]",
        )
        made.seed()
        try:
            made.start()
            with signed_in(made.web_url) as admin:
                made.admin = admin
                set_config(made, query_retrieve={"stable_after_seconds": 1})
                yield made
        finally:
            made.end()


@contextmanager
def configured(suite, **sections):
    """Set settings, and set back what they were."""
    before = suite.admin.get("/api/v1/config").json()["document"]
    set_config(suite, **sections)
    try:
        yield
    finally:
        set_config(
            suite, **{name: {k: before[name][k] for k in given} for name, given in sections.items()}
        )


def store(suite, *objects):
    assert set(send_objects(suite.dicom_port, list(objects))) == {0}
    uids = [str(made.SOPInstanceUID) for made in objects]
    found = suite.wait_for_rows(
        len(uids),
        "SELECT sop_instance_uid FROM instances WHERE sop_instance_uid = ANY(:uids)",
        20,
        uids=uids,
    )
    assert len(found) == len(uids)


def used_bytes(suite):
    """Return what the receiver counts against the quota."""
    metrics = suite.services["scp"].answer("/metrics")[1]
    return float(re.search(r"^draw_scp_storage_used_bytes (.*)$", metrics, re.MULTILINE)[1])


def found_by_query(suite, study_uid):
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = study_uid
    with association(suite.dicom_port, [build_context(StudyRootFind)]) as made:
        return sum(status.Status == 0xFF00 for status, _ in made.send_c_find(asked, StudyRootFind))


def make_old(suite, study_uid, days):
    """Make a study as old as if received so many days before."""
    with psycopg.connect(suite.database_url) as connection:
        for table, key in (
            ("series", "study_pk = (SELECT id FROM studies WHERE study_instance_uid = %s)"),
            ("studies", "study_instance_uid = %s"),
        ):
            connection.execute(
                f"UPDATE {table} SET stable_at = now(),"  # noqa: S608
                f" last_received_at = last_received_at - make_interval(days => %s) WHERE {key}",
                (days, study_uid),
            )
    then = time.time() - days * DAY
    for path in paths(suite, study_uid):
        os.utime(suite.storage / path, (then, then))


def paths(suite, study_uid):
    return {
        row["path"]
        for row in suite.rows(
            "SELECT i.path FROM instances i JOIN series r ON r.id = i.series_pk"
            " JOIN studies s ON s.id = r.study_pk WHERE s.study_instance_uid = :u",
            u=study_uid,
        )
    }


def test_a_complete_series_reaches_folder_celery_and_webhook(suite, tmp_path):
    folder = tmp_path / "handler"
    place = {"path": str(folder), "files": "copy"}
    chain = {"kind": "celery", "name": "chain", "task": TASK, "queue": "chains", "place": place}
    rules = {"destinations": [chain], "rules": [{"name": "all", "destinations": ["chain"]}]}
    objects = datasets.series(4)
    uid = objects[0].SeriesInstanceUID
    with (
        celery_worker(suite.broker_url, tmp_path, "chains") as worker,
        hook_receiver(500) as receiver,
    ):
        put_rules(suite, rules)
        hook = {"url": receiver.url, "secret": HOOK_SECRET, "kinds": ["series.stable"]}
        made = suite.admin.post("/api/v1/webhooks", json=hook).raise_for_status().json()
        store(suite, *objects)
        assert wait_until(lambda: (folder / uid).is_dir() and worker.received(), 60)
        assert wait_until(lambda: len(receiver.requests) >= 2, 60)
        deliveries = f"/api/v1/webhooks/{made['id']}/deliveries"
        assert wait_until(lambda: all_pages(suite.admin, deliveries)[0]["state"] == "delivered", 60)
        suite.admin.delete(f"/api/v1/webhooks/{made['id']}").raise_for_status()
        put_rules(suite, {})
    assert {path.stem for path in (folder / uid).iterdir()} == {o.SOPInstanceUID for o in objects}
    for path in paths(suite, objects[0].StudyInstanceUID):
        copy = folder / uid / path.rpartition("/")[2]
        assert content_hash(copy) == content_hash(suite.storage / path)
    (call,) = worker.received()
    assert (call["series_instance_uid"], call["folder"]) == (uid, str(folder / uid))
    told = [Webhook(HOOK_SECRET).verify(body, headers) for headers, body in receiver.requests]
    assert {each["series_instance_uid"] for each in told} == {uid}


def test_a_series_is_complete_when_the_last_of_its_associations_was_released(suite):
    both, cut = datasets.series(6), datasets.series(2)
    uids = [both[0].SeriesInstanceUID, cut[0].SeriesInstanceUID]
    completed = (
        "SELECT series_instance_uid AS uid, reason, new_instance_count AS new FROM changes"
        " WHERE kind = 'series.stable' AND series_instance_uid = ANY(:uids) ORDER BY sequence"
    )
    with configured(suite, query_retrieve={"stable_after_seconds": 12, "settle_time_seconds": 0}):
        with association(suite.dicom_port, contexts_of(both)) as later:
            with association(suite.dicom_port, contexts_of(both)) as earlier:
                for one, other in zip(both[:3], both[3:], strict=True):
                    assert earlier.send_c_store(one).Status == 0
                    assert later.send_c_store(other).Status == 0
            with association(suite.dicom_port, contexts_of(cut)) as aborting:
                for one in cut:
                    assert aborting.send_c_store(one).Status == 0
                aborting.abort()
            time.sleep(3)
            assert suite.rows(completed, uids=uids) == []
        found = suite.wait_for_rows(2, completed, 60, uids=uids)
    assert found == [
        {"uid": uids[0], "reason": "association_ended", "new": 6},
        {"uid": uids[1], "reason": "quiet", "new": 2},
    ]


def test_a_deleted_study_is_gone_from_queries_and_disk_and_may_come_again(suite):
    objects = datasets.series(3)
    uid = objects[0].StudyInstanceUID
    store(suite, *objects)
    places = paths(suite, uid)
    assert found_by_query(suite, uid) == 1
    used = used_bytes(suite)
    size = sum((suite.storage / path).stat().st_size for path in places)
    answer = suite.admin.delete(f"/api/v1/studies/{uid}", params={"reason": "sent by mistake"})
    assert answer.raise_for_status().json()["instances"] == 3
    assert found_by_query(suite, uid) == 0
    assert wait_until(lambda: not any((suite.storage / path).exists() for path in places), 60)
    # Long before the receiver counts its files anew.
    assert wait_until(lambda: used_bytes(suite) == used - size, 60)
    assert wait_until(
        lambda: suite.admin.get("/api/v1/storage").json()["used_bytes"] == used - size, 60
    )
    store(suite, *objects)
    assert found_by_query(suite, uid) == 1
    assert paths(suite, uid) == places <= stored_files(suite.storage)


def test_the_clean_up_takes_what_the_dry_run_lists(suite):
    old, held, young = (datasets.series(2) for _ in range(3))
    for objects in (old, held, young):
        store(suite, *objects)
    for objects in (old, held):
        make_old(suite, objects[0].StudyInstanceUID, 40)
    path = f"/api/v1/studies/{held[0].StudyInstanceUID}/hold"
    suite.admin.put(path, json={"reason": "research"}).raise_for_status()
    listed = all_pages(suite.admin, "/api/v1/storage/clean-up")
    assert [s["study_instance_uid"] for s in listed] == [old[0].StudyInstanceUID]
    before = {row["uid"] for row in suite.rows("SELECT study_instance_uid AS uid FROM studies")}
    places = paths(suite, old[0].StudyInstanceUID)
    with configured(suite, storage={"clean_up": True}):
        assert wait_until(lambda: not suite_has(suite, old[0].StudyInstanceUID), 60)
        assert wait_until(lambda: not any((suite.storage / place).exists() for place in places), 60)
        time.sleep(0.7)
    after = {row["uid"] for row in suite.rows("SELECT study_instance_uid AS uid FROM studies")}
    assert before - after == {old[0].StudyInstanceUID}
    suite.admin.delete(path).raise_for_status()
    # Its age is not in its files: a rebuilt index would say otherwise.
    study = f"/api/v1/studies/{held[0].StudyInstanceUID}"
    suite.admin.delete(study, params={"reason": "end of test"}).raise_for_status()


def suite_has(suite, study_uid):
    return bool(suite.rows("SELECT FROM studies WHERE study_instance_uid = :u", u=study_uid))


def index(suite):
    """Return the rows of every table of the index, without what is not of their content."""
    found = {}
    with psycopg.connect(suite.database_url) as connection:
        for table, key in TABLES.items():
            rows = connection.execute(
                f"SELECT to_jsonb(t) - %s::text[] FROM {table} t ORDER BY {key}",  # noqa: S608
                (list(NOT_CONTENT),),
            )
            found[table] = [row[0] for row in rows]
    return found


def test_the_index_is_rebuilt_from_the_files_alone(suite):
    other = datasets.series(3, "MR", PatientID="P2", PatientName="Other^Patient")
    conflict = datasets.build(
        SOPInstanceUID=other[0].SOPInstanceUID,
        StudyInstanceUID=other[0].StudyInstanceUID,
        SeriesInstanceUID=other[0].SeriesInstanceUID,
        StudyDescription="other bytes",
    )
    nobody = datasets.build("RTPLAN", PatientID="")
    store(suite, *datasets.series(2), *other, nobody)
    assert send_objects(suite.dicom_port, [conflict]) == [0]
    assert suite.wait_for_rows(1, "SELECT FROM instance_conflicts", 10)
    # Sent again: the same bytes change nothing.
    assert send_objects(suite.dicom_port, [other[1]]) == [0]
    assert wait_until(lambda: not suite.admin.get("/api/v1/storage/clean-up").json()["waiting"], 60)
    before = index(suite)
    assert len(before["instances"]) >= 6
    with psycopg.connect(suite.database_url) as connection:
        connection.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
    answer = draw_admin(suite, "reindex")
    assert answer.returncode == 0, answer.stderr
    count = len(before["instances"])
    suite.wait_for_rows(count, "SELECT FROM instances", 30)
    conflicts = len(before["instance_conflicts"])
    suite.wait_for_rows(conflicts, "SELECT FROM instance_conflicts", 10)
    after = index(suite)
    # Deleted objects were received too, and no file tells of them any more.
    received_before, received_after = before.pop("reception_days"), after.pop("reception_days")
    assert sum(d["objects"] for d in received_after) == count + conflicts
    assert sum(d["objects"] for d in received_before) >= count + conflicts
    assert after == before


def test_what_an_earlier_release_wrote_wrongly_is_read_anew(suite):
    made = datasets.build(PatientID="Old-1", PatientName="Zhang^XiaoDong=张^小东")
    store(suite, made)
    with psycopg.connect(suite.database_url) as connection:
        connection.execute(
            "UPDATE patients SET name = 'Zhang^XiaoDong=\x1b$)AÕÅ', name_search = 'wrong'"
            " WHERE patient_id = 'Old-1'"
        )
    answer = draw_admin(suite, "reindex", "--only", "damaged")
    assert answer.returncode == 0, answer.stderr
    assert "objects are read again" in answer.stdout
    mended = "SELECT FROM patients WHERE patient_id = 'Old-1' AND name = :name AND name_search = :s"
    found = {"name": str(made.PatientName), "s": "=zhang^xiaodong=张^小东="}
    assert suite.wait_for_rows(1, mended, 20, **found)


def test_disk_and_index_are_reconciled_both_ways(suite):
    lost, unknown = datasets.series(2), datasets.series(2)
    store(suite, *lost, *unknown)
    uid = lost[0].SOPInstanceUID
    aside = same_instance(lost[0], StudyDescription="other bytes")
    assert send_objects(suite.dicom_port, [aside]) == [0]
    waited = "SELECT path FROM instance_conflicts WHERE sop_instance_uid = :u"
    (conflict,) = suite.wait_for_rows(1, waited, 10, u=uid)
    assert draw_admin(suite, "reconcile", "--new-seconds", "0").returncode == 0
    for path in paths(suite, lost[0].StudyInstanceUID):
        (suite.storage / path).unlink()
    with psycopg.connect(suite.database_url) as connection:
        connection.execute(
            "DELETE FROM studies WHERE study_instance_uid = %s", (unknown[0].StudyInstanceUID,)
        )
    shown = draw_admin(suite, "reconcile", "--new-seconds", "0")
    assert shown.returncode == 1
    assert "2 rows without file" in shown.stdout
    assert "2 files without row" in shown.stdout
    assert len(paths(suite, lost[0].StudyInstanceUID)) == 2, "a dry run changes nothing"
    repaired = draw_admin(suite, "reconcile", "--repair", "--new-seconds", "0")
    assert repaired.returncode == 0
    assert "2 files without row announced" in repaired.stdout
    assert wait_until(lambda: len(paths(suite, unknown[0].StudyInstanceUID)) == 2, 60)
    # What was set aside for an object that is lost takes its place.
    assert wait_until(lambda: paths(suite, lost[0].StudyInstanceUID) == {conflict["path"]}, 60)
    (study,) = suite.rows(
        "SELECT instance_count FROM studies WHERE study_instance_uid = :u",
        u=lost[0].StudyInstanceUID,
    )
    assert study["instance_count"] == 1
    assert draw_admin(suite, "reconcile", "--new-seconds", "0").returncode == 0


def test_draw_admin_adds_users_verifies_and_states_conformance(suite):
    password = "a long enough password"
    made = draw_admin(
        suite, "create-user", "eve", "--role", "operator", "--password-file", "-", stdin=password
    )
    assert made.returncode == 0, made.stderr
    with signed_in(suite.web_url, "eve", password) as eve:
        assert eve.get("/api/v1/me").json()["role"] == "operator"
    assert wait_until(lambda: draw_admin(suite, "verify-transactions").returncode == 0, 60)
    told = draw_admin(suite, "conformance")
    assert told.returncode == 0
    assert suite.admin.get("/api/v1/conformance").text == told.stdout
    assert "1.2.840.10008.5.1.4.1.1.2" in told.stdout
