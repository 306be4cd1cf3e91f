"""What follows a complete series: the handler's folder and Celery's workers.

Not covered: webhooks (test_webhooks.py), the timer that closes a series (test_stability.py),
the services as processes (tests/e2e/test_storage_care.py).
"""

import errno
import os

import pytest

from draw_indexer.adapters import handler_folder
from draw_indexer.adapters.feed_queries import PostgresFeedRepository
from draw_indexer.adapters.handler_folder import HandlerFolder, HandlerFolderUnavailable
from draw_indexer.adapters.processing_chain import CeleryTaskQueue
from draw_indexer.services.handing_over import HandingOverService
from draw_shared.contracts.server_config import HandlerConfig
from draw_shared.messaging.celery_tasks import CeleryTasks, NoWorkers
from support import datasets
from support.celery_worker import TASK, celery_worker
from support.indexed import IndexedStorage, content_hash
from tools.processes import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path / "storage", database)
    yield made
    made.close()


class Refusing:
    """A processing chain whose broker is away until told otherwise."""

    def __init__(self):
        self.away = True
        self.started = []

    def start(self, task_id, name, queue, arguments):
        if self.away:
            raise NoWorkers("away")
        self.started.append((task_id, name, queue, arguments))


class Handler:
    """The use case with a configuration that the test changes."""

    def __init__(self, archive, database, tasks=None):
        self.config = HandlerConfig()
        self.use_case = HandingOverService(
            PostgresFeedRepository(database),
            HandlerFolder(archive.root),
            tasks or Refusing(),
            lambda: self.config,
            lambda: None,
        )
        self.use_case.hand_over()

    def hand_over(self, **settings):
        self.config = HandlerConfig(**settings)
        self.use_case.hand_over()


def stable(archive, series_uid):
    archive.execute(
        "INSERT INTO changes (kind, study_instance_uid, series_instance_uid)"
        " SELECT 'series.stable', s.study_instance_uid, r.series_instance_uid"
        " FROM series r JOIN studies s ON s.id = r.study_pk"
        " WHERE r.series_instance_uid = :uid",
        uid=series_uid,
    )


def complete_series(archive, count=3):
    objects = datasets.series(count)
    stored = archive.receive(*objects)
    stable(archive, objects[0].SeriesInstanceUID)
    return objects[0].SeriesInstanceUID, stored


def delivered(folder):
    """Return every file of the handler's folder by its name, hidden ones too."""
    return {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}


# --- the folder ----------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["auto_import", "copy_to_folder"])
def test_a_complete_series_appears_in_the_folder(archive, database, tmp_path, setting):
    handler = Handler(archive, database)
    uid, stored = complete_series(archive)
    folder = tmp_path / "handler"
    handler.hand_over(**{setting: True, "folder": str(folder)})
    found = delivered(folder)
    assert set(found) == {f"{uid}/{s.identity.sop_instance_uid}.dcm" for s in stored}
    for one in stored:
        source = archive.root / one.path
        copy = found[f"{uid}/{one.identity.sop_instance_uid}.dcm"]
        assert content_hash(copy) == content_hash(source)
        assert copy.samefile(source) is (setting == "auto_import")


def test_where_linking_is_impossible_files_are_copied(archive, database, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    handler = Handler(archive, database)
    _, stored = complete_series(archive, 1)
    monkeypatch.setattr(handler_folder.os, "link", refuse)
    handler.hand_over(auto_import=True, folder=str(tmp_path / "handler"))
    (copy,) = delivered(tmp_path / "handler").values()
    assert not copy.samefile(archive.root / stored[0].path)
    assert content_hash(copy) == content_hash(archive.root / stored[0].path)


def test_what_comes_later_is_added_and_what_lies_there_stays(archive, database, tmp_path):
    handler = Handler(archive, database)
    objects = datasets.series(3)
    uid = objects[0].SeriesInstanceUID
    archive.receive(*objects[:2])
    stable(archive, uid)
    settings = {"copy_to_folder": True, "folder": str(tmp_path / "handler")}
    handler.hand_over(**settings)
    changed = tmp_path / "handler" / uid / f"{objects[0].SOPInstanceUID}.dcm"
    changed.write_bytes(b"changed by the handler")
    archive.receive(objects[2])
    stable(archive, uid)
    handler.hand_over(**settings)
    assert len(delivered(tmp_path / "handler")) == 3
    assert changed.read_bytes() == b"changed by the handler"


def test_a_delivery_that_was_killed_half_way_is_done_again(archive, database, tmp_path):
    handler = Handler(archive, database)
    uid, stored = complete_series(archive)
    left = tmp_path / "handler" / f".{uid}.part"
    left.mkdir(parents=True)
    (left / "half.dcm").write_bytes(b"half")
    handler.hand_over(auto_import=True, folder=str(tmp_path / "handler"))
    assert len(delivered(tmp_path / "handler")) == len(stored)


def test_a_folder_that_takes_nothing_delays_and_skips_nothing(archive, database, tmp_path):
    handler = Handler(archive, database)
    first, _ = complete_series(archive, 1)
    second, _ = complete_series(archive, 1)
    blocked = tmp_path / "handler"
    blocked.write_text("a file where the folder should be")
    for _ in range(2):
        with pytest.raises(HandlerFolderUnavailable):
            handler.hand_over(auto_import=True, folder=str(blocked))
    blocked.unlink()
    handler.hand_over(auto_import=True, folder=str(blocked))
    assert {p.name for p in blocked.iterdir()} == {first, second}


def test_the_storage_itself_is_no_folder_for_the_handler(archive, database):
    handler = Handler(archive, database)
    complete_series(archive, 1)
    with pytest.raises(HandlerFolderUnavailable, match="lie one inside the other"):
        handler.hand_over(auto_import=True, folder=str(archive.root / "objects" / "x"))


def test_what_completes_while_all_is_off_is_not_made_up_for(archive, database, tmp_path):
    handler = Handler(archive, database)
    complete_series(archive, 1)
    handler.hand_over()
    settings = {"auto_import": True, "folder": str(tmp_path / "handler")}
    handler.hand_over(**settings)
    assert not (tmp_path / "handler").exists()
    second, _ = complete_series(archive, 1)
    handler.hand_over(**settings)
    assert [p.name for p in (tmp_path / "handler").iterdir()] == [second]


def test_only_one_process_reads_at_a_time(archive, database):
    feed = PostgresFeedRepository(database)
    with feed.reading("handler") as mine, feed.reading("handler") as other:
        assert mine is not None
        assert other is None
    with feed.reading("handler") as again:
        assert again is not None


# --- Celery --------------------------------------------------------------------------


def test_a_real_celery_worker_gets_the_series(archive, database, tmp_path, broker_url):
    tasks = CeleryTaskQueue(CeleryTasks(broker_url, client="test"))
    handler = Handler(archive, database, tasks)
    uid, stored = complete_series(archive)
    settings = {
        "copy_to_folder": True,
        "folder": str(tmp_path / "handler"),
        "trigger_processing": True,
        "celery_task": TASK,
        "celery_queue": "chains",
    }
    # Nobody has made the queue yet: the series waits.
    with pytest.raises(NoWorkers):
        handler.hand_over(**settings)
    with celery_worker(broker_url, tmp_path, "chains") as worker:

        def taken():
            try:
                handler.hand_over(**settings)
            except NoWorkers:
                return False
            return bool(worker.received())

        assert wait_until(taken, 60)
    (call,) = worker.received()
    assert call["series_instance_uid"] == uid
    assert call["folder"] == str(tmp_path / "handler" / uid)
    assert call["instances"] == len(stored)
    assert call["study_instance_uid"] == stored[0].identity.study_instance_uid


def test_a_task_that_was_not_taken_is_started_later_with_the_same_id(archive, database):
    tasks = Refusing()
    handler = Handler(archive, database, tasks)
    uid, _ = complete_series(archive, 1)
    settings = {"trigger_processing": True, "celery_task": TASK}
    with pytest.raises(NoWorkers):
        handler.hand_over(**settings)
    tasks.away = False
    handler.hand_over(**settings)
    handler.hand_over(**settings)
    ((_, name, queue, arguments),) = tasks.started
    assert (name, queue, arguments["series_instance_uid"]) == (TASK, "celery", uid)
    assert arguments["folder"] is None
