"""Deliveries into folders and to Celery's workers, as programs behind them see these.

Not covered: folders that grow or refuse (tests/unit/qr_worker/test_series_folders.py), nodes
(tests/faults/test_deliveries.py), the services as processes (tests/e2e/test_storage_care.py).
"""

from uuid import UUID, uuid4

import pytest

from draw_qr_worker.adapters.answered_objects import PostgresAnsweredObjectRepository
from draw_qr_worker.adapters.catalogue_queries import PostgresStoredObjectRepository
from draw_qr_worker.adapters.job_ends import PostgresJobEnds
from draw_qr_worker.adapters.series_folders import SeriesFolders
from draw_qr_worker.adapters.task_queues import CeleryTaskStarter
from draw_qr_worker.models import (
    AnsweredObject,
    ClaimedJob,
    JobState,
    Lease,
    LostLease,
    Postponed,
    StoredFileAway,
)
from draw_qr_worker.services.delivering import DeliverTask
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.shared_jobs import GONE
from draw_shared.contracts.server_config import DuplicatePolicy
from draw_shared.messaging.celery_tasks import CeleryTask, CeleryTasks, NoWorkers, body, properties
from support import datasets, senders
from support.celery_worker import TASK, celery_worker
from support.delivery_rows import DeliveryRows
from support.indexed import IndexedStorage, content_hash
from support.waiting import wait_until

pytestmark = pytest.mark.integration

RUNNING = """
    INSERT INTO jobs (id, kind, state, priority, parameters, created_by, fence)
    VALUES (:id, 'deliver', 'running', 5, '{}', 'routing', 1)
"""
CALL = UUID("972518e7-b5f3-57f6-b2d5-fb4b1d3ccfea")
MESSAGE = (
    b'[[], {"study_instance_uid": "1.2.3", "series_instance_uid": "1.2.3.4",'
    b' "folder": "%s/1.2.3.4", "instances": 2, "sequence": 4711},'
    b' {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
)
"""Of the 4711th change, as indexers sent it before there were rules."""


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path / "storage", database)
    yield made
    made.close()


class Recorded:
    """Celery's workers, whose tasks are kept."""

    def __init__(self):
        self.started = []

    def start(self, *task):
        self.started.append(CeleryTask(*task))


def received(archive, count=3, **elements):
    objects = datasets.series(count)
    for one in objects:
        for keyword, value in elements.items():
            setattr(one, keyword, value)
    return objects[0], archive.receive(*objects)


def deliver(archive, of, target, tasks=None, sequence=4711, only=(), *, complete=True, whole=False):
    """Deliver the series of an object as the worker does; return how it ended."""
    rows = DeliveryRows(archive.database)
    lease = Lease(uuid4(), 1)
    rows.execute(RUNNING, id=lease.job_id)
    if complete:
        for table in ("series", "studies"):
            rows.execute(f"UPDATE {table} SET stable_at = now()")  # noqa: S608
    parameters = {
        "delivery_id": rows.deliver("handler", of.SeriesInstanceUID),
        "decision_id": 5,
        "sequence": sequence,
        "target": target,
        "study_instance_uid": of.StudyInstanceUID,
        "series_instance_uid": "" if whole else of.SeriesInstanceUID,
        "sop_instance_uids": list(only),
    }
    job = ClaimedJob(lease, "deliver", 1, 0, None, parameters=parameters)
    task = DeliverTask(
        PostgresStoredObjectRepository(archive.database),
        PostgresAnsweredObjectRepository(archive.database),
        None,
        SeriesFolders(archive.root, PostgresJobEnds(archive.database).unfinished),
        tasks or Recorded(),
        None,
    )
    return task.run(job, ExecutionControl(job.lease))


def chain(tmp_path, **fields):
    place = {"path": str(tmp_path / "handler"), "files": "copy"}
    return {"kind": "celery", "name": "chain", "task": TASK, "place": place} | fields


@pytest.mark.parametrize("files", ["link", "copy"])
def test_a_series_appears_in_the_folder_as_it_is_stored(archive, tmp_path, files):
    of, stored = received(archive)
    folder = tmp_path / "handler"
    target = {"kind": "folder", "name": "handler", "path": str(folder), "files": files}
    assert deliver(archive, of, target).state is JobState.COMPLETE
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    uid = of.SeriesInstanceUID
    assert names == {f"{uid}/{one.identity.sop_instance_uid}.dcm" for one in stored}
    for one in stored:
        source = archive.root / one.path
        there = folder / uid / f"{one.identity.sop_instance_uid}.dcm"
        assert content_hash(there) == content_hash(source)
        assert there.samefile(source) is (files == "link")


def test_a_file_that_is_away_is_waited_for_unless_the_index_has_its_object_no_longer(
    archive, tmp_path
):
    of, stored = received(archive)
    (archive.root / stored[0].path).unlink()
    folder = tmp_path / "handler"
    target = {"kind": "folder", "name": "handler", "path": str(folder), "ready_marker": ".ready"}
    with pytest.raises(StoredFileAway):
        deliver(archive, of, target)
    assert list(folder.iterdir()) == []
    archive.lose(stored[0])
    ended = deliver(archive, of, target)
    assert (ended.state, ended.result["delivered"]) == (JobState.COMPLETE, len(stored) - 1)
    assert (folder / of.SeriesInstanceUID / ".ready").exists()


@pytest.mark.parametrize("files", ["link", "copy"])
def test_a_corrected_object_replaces_its_file_and_what_a_program_has_changed_stays(
    archive, tmp_path, files
):
    archive.duplicates = DuplicatePolicy.REPLACE
    objects = datasets.series(2)
    archive.receive(*objects)
    target = {"kind": "folder", "name": "handler", "path": str(tmp_path / "in"), "files": files}
    deliver(archive, objects[0], target)
    first, second = (
        tmp_path / "in" / one.SeriesInstanceUID / f"{one.SOPInstanceUID}.dcm" for one in objects
    )
    second.unlink()
    second.write_bytes(b"made anonymous")
    objects[0].PatientName = "Corrected^Name"
    archive.receive(objects[0])
    deliver(archive, objects[0], target)
    assert senders.read(first).PatientName == "Corrected^Name"
    assert second.read_bytes() == b"made anonymous"
    objects[1].PatientName = "Corrected^Name"
    archive.receive(objects[1])
    deliver(archive, objects[0], target)
    assert senders.read(second).PatientName == "Corrected^Name"


def test_what_is_corrected_back_after_half_of_it_had_arrived_has_its_present_contents(
    archive, tmp_path
):
    archive.duplicates = DuplicatePolicy.REPLACE
    objects = datasets.series(2)
    archive.receive(*objects)
    folder = tmp_path / "in"
    target = {"kind": "folder", "name": "handler", "path": str(folder), "files": "copy"}
    deliver(archive, objects[0], target)
    for one in objects:
        one.PatientName = "Corrected^Name"
    corrected = archive.receive(*objects)
    # As a folder does that is full behind the first.
    (archive.root / corrected[1].path).unlink()
    with pytest.raises(StoredFileAway):
        deliver(archive, objects[0], target)
    for one in objects:
        one.PatientName = "Test^Patient"
    archive.receive(*objects)
    deliver(archive, objects[0], target)
    there = [senders.read(file).PatientName for file in folder.rglob("*.dcm")]
    assert there == ["Test^Patient"] * 2


@pytest.mark.parametrize("whole", [False, True])
def test_what_grows_again_waits_until_it_is_complete(archive, tmp_path, whole):
    of, _ = received(archive)
    folder = tmp_path / "handler"
    target = {"kind": "folder", "name": "handler", "path": str(folder), "files": "copy"}
    with pytest.raises(Postponed, match="sent when it is complete"):
        deliver(archive, of, target, complete=False, whole=whole)
    assert not folder.exists()
    # Single objects were never waited for.
    deliver(archive, of, target, complete=False, only=[of.SOPInstanceUID])
    assert len(list(folder.rglob("*.dcm"))) == 1
    assert deliver(archive, of, target, whole=whole).state is JobState.COMPLETE
    assert len(list(folder.rglob("*.dcm"))) == 3


def test_with_objects_one_by_one_the_marker_waits_for_the_series(archive, tmp_path):
    of, stored = received(archive, 2)
    folder = tmp_path / "handler"
    target = {"kind": "folder", "name": "handler", "path": str(folder), "ready_marker": ".ready"}
    for one in stored:
        deliver(archive, of, target, only=[one.identity.sop_instance_uid])
    assert len(list((folder / of.SeriesInstanceUID).iterdir())) == 2
    deliver(archive, of, target)
    assert (folder / of.SeriesInstanceUID / ".ready").exists()


def test_what_an_endpoint_has_answered_for_is_kept_in_order_with_its_hops(database):
    rows, kept = DeliveryRows(database), PostgresAnsweredObjectRepository(database)
    lease, deliveries = Lease(uuid4(), 1), [rows.deliver("node"), rows.deliver("node")]
    with pytest.raises(LostLease):
        kept.record(lease, "A@b:104", deliveries[:1], [AnsweredObject("1.2", b"a")])
    rows.execute(RUNNING, id=lease.job_id)
    for content, origin, hops in (
        (b"a", "CT@c", 0),
        (b"b", None, 1),
        (b"a", None, 1),
        (b"c", "CT@c", 0),
        (b"b", "CT@c", 0),
    ):
        one = AnsweredObject("1.2", content, 0, origin, hops)
        kept.record(lease, "A@b:104", deliveries, [one, AnsweredObject("1.3", content)])
        # Whatever the clock says, later is later.
        rows.execute("UPDATE delivered_objects SET answered_at = answered_at + interval '1 hour'")
    assert kept.answered("A@b:104", ["1.2", "1.4"]) == {
        "1.2": [
            AnsweredObject("1.2", b"a", 0, "CT@c", 1),
            AnsweredObject("1.2", b"c", 0, "CT@c", 0),
            AnsweredObject("1.2", b"b", 0, "CT@c", 1),
        ]
    }
    assert kept.answered("A@b:105", ["1.2"]) == {}
    brought = rows.execute("SELECT DISTINCT sop_instance_uid, delivery_id FROM delivered_objects")
    assert sorted(row["delivery_id"] for row in brought) == deliveries


def test_a_series_that_is_gone_is_not_delivered(archive, tmp_path):
    of, _ = received(archive)
    archive.delete(of.StudyInstanceUID)
    tasks = Recorded()
    ended = deliver(archive, of, chain(tmp_path), tasks)
    assert (ended.state, ended.result[GONE], tasks.started) == (JobState.FAILED, True, [])


def test_a_task_is_the_one_that_indexers_started_before_there_were_rules(archive, tmp_path):
    of, _ = received(archive, 2, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    tasks = Recorded()
    for _ in range(2):
        deliver(archive, of, chain(tmp_path, queue="chains"), tasks)
    task, again = tasks.started
    assert task == again
    assert (task.id, task.name, task.queue) == (CALL, TASK, "chains")
    assert body(task) == MESSAGE % str(tmp_path / "handler").encode()
    assert properties(task).correlation_id == str(CALL)
    deliver(archive, of, chain(tmp_path, place=None), tasks, sequence=4712)
    later = tasks.started[-1]
    assert later.id != task.id
    assert (later.queue, later.arguments["folder"]) == ("celery", None)


def test_a_batch_has_no_sequence_and_a_task_of_its_own(archive, tmp_path):
    of, _ = received(archive)
    tasks = Recorded()
    for sequence in (None, None, 5):
        deliver(archive, of, chain(tmp_path), tasks, sequence)
    ids = [task.id for task in tasks.started]
    assert ids[0] == ids[1]
    assert tasks.started[0].arguments["sequence"] is None


def test_a_real_celery_worker_gets_the_series(archive, tmp_path, broker_url):
    tasks = CeleryTaskStarter(CeleryTasks(broker_url, client="test"))
    of, stored = received(archive)
    target = chain(tmp_path, queue="Kette für Süd")
    # Nobody has made the queue yet: the series waits.
    with pytest.raises(NoWorkers):
        deliver(archive, of, target, tasks)
    with celery_worker(broker_url, tmp_path, target["queue"]) as worker:

        def taken():
            try:
                deliver(archive, of, target, tasks)
            except NoWorkers:
                return False
            return bool(worker.received())

        assert wait_until(taken, 60)
        call = worker.received()[0]
    assert call["series_instance_uid"] == of.SeriesInstanceUID
    assert call["study_instance_uid"] == of.StudyInstanceUID
    assert call["folder"] == str(tmp_path / "handler" / of.SeriesInstanceUID)
    assert call["instances"] == len(stored)
