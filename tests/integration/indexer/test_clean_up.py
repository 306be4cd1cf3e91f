"""The clean-up against a real PostgreSQL and a real storage volume.

Not covered: being killed (tests/faults/test_clean_up_kills.py).
"""

import pytest
from sqlalchemy import text

from draw_indexer.adapters.deletions import StudyDeletions
from draw_indexer.services.clean_up import CleanUp, Rule
from draw_shared.db import deletion
from support import datasets
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
    return StudyDeletions(database, tmp_path, replica="test")


def clean_up(deletions, *, on=True, backlog=0, days=DAYS):
    deleted = []
    CleanUp(deletions, lambda: Rule(on, days), lambda: backlog, deleted.append).delete_expired()
    return deleted


def old_study(archive, days=40, count=2, **elements):
    objects = datasets.series(count, **elements)
    archive.receive(*objects, days_ago=days)
    return objects[0].StudyInstanceUID


def test_whole_studies_beyond_retention_go_oldest_first_rows_and_files(archive, deletions):
    younger, oldest = old_study(archive, 40), old_study(archive, 50, count=3)
    stays = old_study(archive, 20)
    assert deletions.expired(DAYS) == [oldest, younger]
    assert clean_up(deletions) == [3, 2]
    assert archive.studies() == {stays}
    assert archive.files() == set(archive.paths(stays))
    assert archive.scalars("SELECT count(*) FROM patients") == [1]
    assert archive.scalars("SELECT study_count FROM patients") == [1]


def test_what_went_is_in_the_change_feed_and_in_the_audit_log(archive, deletions):
    uid = old_study(archive)
    clean_up(deletions)
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
    assert clean_up(deletions, on=False) == []
    assert clean_up(deletions, backlog=1) == []
    assert archive.studies() == {uid}


def test_held_studies_stay_until_released(archive, deletions):
    uid = old_study(archive)
    archive.execute("UPDATE studies SET held = true")
    assert clean_up(deletions) == []
    archive.execute("UPDATE studies SET held = false")
    assert clean_up(deletions) == [2]
    assert uid not in archive.studies()


def test_conflicting_studies_stay(archive, deletions):
    objects = datasets.series(1)
    archive.receive(*objects)
    archive.receive(same_instance(objects[0], StudyDescription="other bytes"))
    archive.age(objects[0].StudyInstanceUID, 40)
    assert archive.scalars("SELECT count(*) FROM instance_conflicts") == [1]
    assert clean_up(deletions) == []


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
    assert clean_up(deletions) == []
    archive.execute("UPDATE jobs SET state = 'complete', finished_at = now()")
    assert clean_up(deletions) == [2]


def test_a_study_with_unannounced_objects_stays(archive, deletions):
    objects = datasets.series(2)
    archive.receive(objects[0], days_ago=40)
    stored, _ = receive(archive.store, objects[1])
    assert clean_up(deletions) == []
    archive.store.release([stored])
    assert clean_up(deletions) == [1]
    assert archive.files() == {stored.path}, "not indexed, so not of the deleted study"


def test_a_study_that_was_sent_again_stays_for_another_retention(archive, deletions):
    objects = datasets.series(2)
    archive.receive(*objects, days_ago=40)
    again, _ = receive(archive.store, objects[0])
    archive.store.release([again])
    assert again.duplicate
    assert clean_up(deletions) == []


def test_a_study_that_is_not_settled_stays(archive, deletions):
    old_study(archive)
    archive.execute("UPDATE studies SET stable_at = NULL")
    assert clean_up(deletions) == []


def test_a_deleted_study_that_is_sent_again_is_stored_and_found_again(archive, deletions):
    objects = datasets.series(2)
    first = archive.receive(*objects, days_ago=40)
    clean_up(deletions)
    assert archive.files() == set()
    second = archive.receive(*objects)
    assert not any(stored.duplicate for stored in second)
    assert {s.path for s in second} == {s.path for s in first} == archive.files()
    CleanUp(deletions, lambda: Rule(True, DAYS), lambda: 0, lambda _: None).remove_files()
    assert archive.files() == {s.path for s in second}
    assert archive.studies() == {objects[0].StudyInstanceUID}


def test_a_file_that_a_row_names_again_stays(archive, deletions, tmp_path):
    objects = datasets.series(1)
    (stored,) = archive.receive(*objects)
    with archive.database.session() as session:
        uid = objects[0].StudyInstanceUID
        deletion.delete_study(session.connection(), uid, deletions._files.mark)
        session.commit()
    archive.index(stored)
    assert deletions.remove_files(10) == 0
    assert (tmp_path / stored.path).exists()
    assert archive.scalars("SELECT count(*) FROM file_deletions") == [0]


def test_a_row_written_after_its_file_had_gone_is_deleted(archive, deletions):
    """An indexer that had read the header before is the only one who can write it."""
    objects = datasets.series(3)
    archive.receive(*objects, days_ago=40)
    uid = objects[0].StudyInstanceUID
    saved = archive.scalars("SELECT to_jsonb(i)::text FROM instances i ORDER BY id")
    rows = archive.scalars(
        "SELECT array[to_jsonb(p), to_jsonb(s), to_jsonb(r)]::text FROM patients p"
        " JOIN studies s ON s.patient_pk = p.id JOIN series r ON r.study_pk = s.id"
    )
    assert rows and clean_up(deletions) == [3]
    archive.receive(datasets.build(StudyInstanceUID=uid))
    with archive.database.session() as session:
        session.connection().execute(
            text(
                "INSERT INTO instances SELECT (jsonb_populate_record(NULL::instances,"
                " CAST(:row AS jsonb) || jsonb_build_object('series_pk', r.id))).* FROM series r"
            ),
            {"row": saved[0]},
        )
        session.commit()
    assert len(archive.paths(uid)) == 2
    assert deletions.delete_resurrected() == 1
    assert len(archive.paths(uid)) == 1
    assert archive.scalars("SELECT instance_count FROM studies") == [1]


def test_deleting_a_study_takes_what_was_set_aside_for_it(archive, deletions):
    objects = datasets.series(1)
    archive.receive(*objects)
    archive.receive(same_instance(objects[0], StudyDescription="other bytes"))
    assert len(archive.files()) == 2
    with archive.database.session() as session:
        uid = objects[0].StudyInstanceUID
        deletion.delete_study(session.connection(), uid, deletions._files.mark)
        session.commit()
    deletions.remove_files(10)
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
    with archive.database.session() as session:
        deletion.delete_study(session.connection(), named_only, deletions._files.mark)
        session.commit()
    deletions.remove_files(10)
    assert archive.files() == set(archive.paths(objects[0].StudyInstanceUID))
    assert len(archive.files()) == 2
