"""An indexer is killed before every single step that indexes, or removes a file.

Each time what was announced is announced again, as the broker does; then every object that is
to be there has one row and one whole file, and there is no other file.
"""

import itertools

import pytest

from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.storage.layout import TRASH, Layout
from draw_shared.storage.outbox import event_of
from support import datasets
from support.forked import children
from support.indexed import IndexedStorage
from support.receptions import receive, same_instance

pytestmark = pytest.mark.fault

SEQUENTIAL = Layout(StorageStructure.STUDY, FileNaming.SEQUENTIAL)
NAMED = "SELECT path FROM instances UNION SELECT path FROM instance_conflicts"
HASHES = "SELECT encode(content_sha256, 'hex') FROM instances WHERE sop_instance_uid = :uid"
FEWEST_STEPS = 12
MOST_STEPS = 200


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path, database)
    yield made
    made.close()


def received(archive, made):
    stored, _ = receive(archive.store, made, SEQUENTIAL)
    archive.store.release([stored])
    return stored


def twice(archive, made):
    """Receive an object to two files, as when the receiver was restarted in between."""
    first = received(archive, made)
    archive.restart()
    return [first, received(archive, made)]


def situation(archive):
    """Make all there is to do with copies; return what is announced and what is to stay."""
    objects = datasets.series(4)
    announced = [stored for made in objects[:2] for stored in twice(archive, made)]
    # A version that is set aside, twice.
    announced += twice(archive, same_instance(objects[0], StudyDescription="other bytes"))
    # The row's file is damaged, and there is a copy.
    damaged, copy = twice(archive, objects[3])
    archive.index(damaged)
    place = archive.root / damaged.path
    place.write_bytes(place.read_bytes()[:-4])
    announced.append(copy)
    # A study that was deleted, of which one file is on record and one was not indexed yet.
    deleted = datasets.series(2)
    archive.index(received(archive, deleted[0]))
    announced.append(received(archive, deleted[1]))
    archive.delete(deleted[0].StudyInstanceUID)
    return announced, [objects[0], objects[1], objects[3]]


def test_killed_before_any_step_every_object_ends_with_one_file(archive, database_url, tmp_path):
    events = tmp_path / "events"
    expected = 0
    with children("support.indexer_child", database_url, tmp_path) as indexers:
        for step in itertools.count(1):
            announced, staying = situation(archive)
            expected += len(staying) + 1
            lines = [event_of(stored).to_bytes() for stored in announced]
            events.write_bytes(b"\n".join(lines))
            indexers.start(step, events)
            end = indexers.end()
            assert end in {0, -9}
            rows = set(archive.scalars(NAMED))
            assert rows <= archive.files(), f"a row without file, killed before step {step}"
            # What an interrupted removal may bring back is announced until that is finished.
            waiting = [f.delivery.body for f in archive.index_events(lines, attempt=1)]
            archive.settle()
            assert archive.index_events(waiting, attempt=2) == []
            archive.settle()
            assert archive.files() == set(archive.scalars(NAMED)), f"step {step}"
            assert len(archive.files()) == expected, f"step {step}"
            assert whole(archive, staying), f"step {step}"
            if end == 0:
                break
            assert step < MOST_STEPS
    assert step > FEWEST_STEPS, "it was hardly ever killed"
    assert list((tmp_path / TRASH).iterdir()) == []


def whole(archive, objects):
    """Return whether the files that the rows name hold what the rows say."""
    query = "SELECT path FROM instances WHERE sop_instance_uid = :uid"
    for made in objects:
        [path] = archive.scalars(query, uid=made.SOPInstanceUID)
        [said] = archive.scalars(HASHES, uid=made.SOPInstanceUID)
        held = archive.content(path)
        if (held.sop_instance_uid, held.content_sha256) != (made.SOPInstanceUID, said):
            return False
    return True
