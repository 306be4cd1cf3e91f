"""The clean-up against a real PostgreSQL and a real storage volume.

Not covered: being killed (tests/faults/test_clean_up_kills.py).
"""

import pytest

from draw_indexer.adapters.deletions import PostgresExpiredStudyRepository
from support import datasets
from support.delivery_rows import DeliveryRows
from support.indexed import IndexedStorage
from support.receptions import receive, same_instance

pytestmark = pytest.mark.integration

DAYS = 30


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path, database)
    yield made
    made.close()


@pytest.fixture
def deletions(tmp_path, database):
    return PostgresExpiredStudyRepository(database, tmp_path, replica="test")


def clean_up(archive, **rule):
    """Clean up and return how many objects of each study went."""
    archive.cleaned_up.clear()
    archive.clean_up(**{"on": True, "days": DAYS} | rule).delete_expired()
    return archive.cleaned_up


def old_study(archive, days=40, count=2, **elements):
    objects = datasets.series(count, **elements)
    archive.receive(*objects, days_ago=days)
    return objects[0].StudyInstanceUID


def test_whole_studies_beyond_retention_go_oldest_first_rows_and_files(archive, deletions):
    younger, oldest = old_study(archive, 40), old_study(archive, 50, count=3)
    stays = old_study(archive, 20)
    assert deletions.expired(DAYS) == [oldest, younger]
    assert clean_up(archive) == [3, 2]
    assert archive.studies() == {stays}
    assert archive.files() == set(archive.paths(stays))
    assert archive.scalars("SELECT count(*) FROM patients") == [1]
    assert archive.scalars("SELECT study_count FROM patients") == [1]


def test_what_went_is_in_the_change_feed_and_in_the_audit_log(archive, deletions):
    uid = old_study(archive)
    clean_up(archive)
    kinds = archive.scalars("SELECT kind FROM changes WHERE study_instance_uid = :u", u=uid)
    assert kinds[-1] == "study.deleted"
    recorded = archive.scalars(
        "SELECT actor || ' ' || action || ' ' || objects FROM transactions"
        " WHERE study_instance_uid = :u AND kind = 'management'",
        u=uid,
    )
    assert recorded == ["clean-up study.delete 2"]


def test_off_or_with_announcements_waiting_nothing_goes(archive, deletions):
    uid = old_study(archive)
    assert clean_up(archive, on=False) == []
    assert clean_up(archive, backlog=1) == []
    assert archive.studies() == {uid}


def test_held_studies_stay_until_released(archive, deletions):
    uid = old_study(archive)
    archive.execute("UPDATE studies SET held = true")
    assert clean_up(archive) == []
    archive.execute("UPDATE studies SET held = false")
    assert clean_up(archive) == [2]
    assert uid not in archive.studies()


def test_conflicting_studies_stay(archive, deletions):
    objects = datasets.series(1)
    archive.receive(*objects)
    archive.receive(same_instance(objects[0], StudyDescription="other bytes"))
    archive.age(objects[0].StudyInstanceUID, 40)
    assert archive.scalars("SELECT count(*) FROM instance_conflicts") == [1]
    assert clean_up(archive) == []


@pytest.mark.parametrize("name", ["study_instance_uid", "patient_id", "accession_number"])
def test_studies_that_an_unfinished_job_names_stay(archive, deletions, name):
    uid = old_study(archive, PatientID="P-job", AccessionNumber="A-job")
    value = {"study_instance_uid": uid, "patient_id": "P-job", "accession_number": "A-job"}[name]
    archive.execute(
        "INSERT INTO jobs (id, kind, state, parameters) VALUES (gen_random_uuid(), 'retrieve',"
        " 'running', jsonb_build_object('what', jsonb_build_object(CAST(:n AS text),"
        " CAST(:v AS text))))",
        n=name,
        v=value,
    )
    assert clean_up(archive) == []
    archive.execute("UPDATE jobs SET state = 'complete', finished_at = now()")
    assert clean_up(archive) == [2]


def test_a_study_that_rules_still_have_to_deliver_stays(archive, deletions):
    uid = old_study(archive)
    number = DeliveryRows(archive.database).deliver("a", study=uid)
    assert clean_up(archive) == []
    archive.execute(
        "UPDATE deliveries SET state = 'delivered', finished_at = now() WHERE id = :id", id=number
    )
    assert clean_up(archive) == [2]


def test_a_study_with_unannounced_objects_stays(archive, deletions):
    objects = datasets.series(2)
    archive.receive(objects[0], days_ago=40)
    stored, _ = receive(archive.store, objects[1])
    assert clean_up(archive) == []
    archive.store.release([stored])
    assert clean_up(archive) == [1]
    assert archive.files() == {stored.path}, "received since, so not of the deleted study"
    archive.index(stored)
    archive.settle()
    assert archive.files() == set(archive.paths(objects[0].StudyInstanceUID)) == {stored.path}


def test_a_study_that_was_sent_again_stays_for_another_retention(archive, deletions):
    objects = datasets.series(2)
    archive.receive(*objects, days_ago=40)
    again, _ = receive(archive.store, objects[0])
    archive.store.release([again])
    assert again.duplicate
    assert clean_up(archive) == []


def test_a_study_that_is_not_settled_stays(archive, deletions):
    old_study(archive)
    archive.execute("UPDATE studies SET stable_at = NULL")
    assert clean_up(archive) == []


def test_a_deleted_study_that_is_sent_again_is_stored_and_found_again(archive, deletions):
    objects = datasets.series(2)
    first = archive.receive(*objects, days_ago=40)
    clean_up(archive)
    assert archive.files() == set()
    second = archive.receive(*objects)
    assert not any(stored.duplicate for stored in second)
    assert {s.path for s in second} == {s.path for s in first} == archive.files()
    archive.settle()
    assert archive.files() == {s.path for s in second}
    assert archive.studies() == {objects[0].StudyInstanceUID}


def test_a_file_that_is_received_again_before_it_goes_stays(archive, tmp_path):
    objects = datasets.series(1)
    (stored,) = archive.receive(*objects)
    archive.delete(objects[0].StudyInstanceUID)
    (again,) = archive.receive(*objects)
    assert again.duplicate and again.path == stored.path
    archive.settle()
    assert (tmp_path / stored.path).exists()
    assert archive.scalars("SELECT count(*) FROM file_deletions") == [0]
    assert archive.studies() == {objects[0].StudyInstanceUID}


def test_deleting_a_study_takes_what_was_set_aside_for_it(archive, deletions):
    objects = datasets.series(1)
    archive.receive(*objects)
    archive.receive(same_instance(objects[0], StudyDescription="other bytes"))
    assert len(archive.files()) == 2
    gone = archive.delete(objects[0].StudyInstanceUID)
    assert (gone.instances, gone.files) == (1, 2)
    archive.settle()
    assert archive.files() == set()
    assert archive.scalars("SELECT count(*) FROM instance_conflicts") == [0]


def test_an_object_that_names_a_deleted_study_but_lies_in_another_stays(archive, deletions):
    objects = datasets.series(2)
    other = objects[1]
    other.StudyInstanceUID = datasets.generate_uid()
    archive.receive(objects[0])
    archive.receive(other)
    assert archive.studies() == {objects[0].StudyInstanceUID}
    named_only = other.StudyInstanceUID
    archive.receive(datasets.build(StudyInstanceUID=named_only))
    archive.delete(named_only)
    archive.settle()
    assert archive.files() == set(archive.paths(objects[0].StudyInstanceUID))
    assert len(archive.files()) == 2
