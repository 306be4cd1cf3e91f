"""Files of deleted objects: what goes, what stays, whatever happens in between.

Not covered: power cuts between rename and unlink.
"""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.dicom.encoding import part10
from draw_shared.storage import layout, spool
from draw_shared.storage.latest_deletion import LatestDeletion
from draw_shared.storage.layout import LATEST_DELETION, TRASH, Layout, ObjectIdentity
from draw_shared.storage.objects import ObjectStore, received_at
from draw_shared.storage.removal import OutsideStorage, Removed, StorageFiles
from draw_shared.storage.unannounced import unannounced_entries, unannounced_studies
from support import datasets, small_disk

BYTES = b"\x08\0\x18\0UI\4\x001.2\0" + b"\x20\0\x0d\0UI\4\x001.3\0" + b"\x20\0\x0e\0UI\4\x001.4\0"
IDENTITY = ObjectIdentity("P", "1.3", "1.4", "1.2", 1)
YEAR_NS = 365 * 86400 * 10**9
LAYOUT = Layout(StorageStructure.SERIES, FileNaming.SOP_UID)


def meta():
    return part10.FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2", "1.2.840.10008.1.2.1", "SENDER")


@pytest.fixture
def store(tmp_path):
    made = ObjectStore(tmp_path, "one")
    made.start()
    yield made
    made.stop(1)


def receive(store, announced=True):
    incoming = store.begin(meta())
    incoming.write(BYTES)
    stored = store.commit(incoming, IDENTITY, LAYOUT)
    if announced:
        store.release([stored])
    return stored


def test_a_file_goes_with_the_folders_it_leaves_empty(store, tmp_path):
    stored = receive(store)
    files = StorageFiles(tmp_path)
    assert files.remove(stored.path, files.mark(stored.path), "1.2") is Removed.GONE
    files.tidy([stored.path])
    assert not (tmp_path / stored.path).exists()
    assert list((tmp_path / "objects").iterdir()) == []
    assert list((tmp_path / TRASH).iterdir()) == []


def test_removing_twice_ends_the_same(store, tmp_path):
    stored = receive(store)
    files = StorageFiles(tmp_path)
    mark = files.mark(stored.path)
    files.remove(stored.path, mark, "1.2")
    assert files.remove(stored.path, mark, "1.2") is Removed.GONE


def test_what_was_sent_again_after_the_decision_stays(store, tmp_path):
    stored = receive(store)
    files = StorageFiles(tmp_path)
    mark = files.mark(stored.path)
    again = receive(store)
    assert again.duplicate and again.path == stored.path
    assert files.remove(stored.path, mark, "1.2") is Removed.KEPT
    assert (tmp_path / stored.path).read_bytes().endswith(BYTES)


def test_a_file_that_says_it_is_another_object_stays(store, tmp_path):
    stored = receive(store)
    files = StorageFiles(tmp_path)
    assert files.remove(stored.path, files.mark(stored.path), "1.9") is Removed.KEPT
    assert (tmp_path / stored.path).exists()


def test_what_was_written_before_a_moment_is_older_and_what_comes_after_it_is_not(store, tmp_path):
    files = StorageFiles(tmp_path)
    for _ in range(20):
        before = files.mark(receive(store).path)
        moment = files.moment()
        after = files.mark(receive(store).path)
        assert before.modified_ns < moment <= after.modified_ns, "received, and claimed"
        files.remove("objects/P/1.3/1.4/1.2.dcm", after, "1.2")


def test_when_the_clock_is_set_back_moments_go_on_and_no_file_is_older(store, tmp_path):
    files = StorageFiles(tmp_path)
    ahead = time.time_ns() + YEAR_NS
    os.utime(tmp_path / LATEST_DELETION, ns=(ahead, ahead))
    moment = ahead
    for _ in range(3):
        before, moment = moment, files.moment()
        assert before < moment
        times = [files.mark(receive(store).path).modified_ns for _ in range(3)]
        assert moment <= min(times), "received, and claimed twice"
        assert max(times) < files.moment(), "what came before a deletion is older than it"
        moment = LatestDeletion(tmp_path).moment_ns()
    stored = receive(store)
    assert files.last_wanted([stored.path]) < time.time() + 1, "retention has its own time"


def test_a_moment_that_is_given_raises_the_volumes_and_lowers_nothing(store, tmp_path):
    files, latest = StorageFiles(tmp_path), LatestDeletion(tmp_path)
    last = files.moment()
    assert files.moment(last - YEAR_NS) == last - YEAR_NS
    assert latest.moment_ns() == last
    later = last + YEAR_NS
    assert files.moment(later) == later == latest.moment_ns()
    assert files.mark(receive(store).path).modified_ns == later


def test_a_volume_that_knows_no_deletion_yet_takes_objects_and_deletions(store, tmp_path):
    (tmp_path / LATEST_DELETION).unlink()
    files = StorageFiles(tmp_path)
    before = files.mark(receive(store).path).modified_ns
    moment = files.moment()
    assert before < moment == LatestDeletion(tmp_path).moment_ns()
    assert files.mark(receive(store).path).modified_ns >= moment


@pytest.mark.parametrize("given", [False, True])
def test_where_times_are_whole_seconds_nothing_received_later_is_older(tmp_path, given):
    ahead = int(time.time()) + 1000
    image = tmp_path / "image"
    small_disk.format_image(image, 16 * 2**20, "-I", "128")
    with small_disk.mounted_image(image, tmp_path / "disk") as root:
        (root / LATEST_DELETION).touch()
        os.utime(root / LATEST_DELETION, (ahead, ahead))
        store = ObjectStore(root, "one")
        store.start()
        files = StorageFiles(root)
        before = files.mark(receive(store).path).modified_ns
        moment = files.moment(ahead * 10**9 + 123_456_789 if given else None)
        assert before < moment <= files.mark(receive(store).path).modified_ns
        store.stop(1)


def test_a_file_whose_name_was_taken_meanwhile_is_not_lost(store, tmp_path):
    stored = receive(store)
    place = tmp_path / stored.path
    files = StorageFiles(tmp_path)
    mark = files.mark(stored.path)

    def taken():
        if place.exists():
            return True
        place.write_bytes(b"another object")
        return False

    assert files.remove(stored.path, mark, "1.2", taken) is Removed.KEPT
    assert place.read_bytes() == b"another object"
    assert (tmp_path / files.refuge(mark)).read_bytes().endswith(BYTES)


def test_what_was_sent_again_after_the_removal_is_stored_cleanly(store, tmp_path):
    stored = receive(store)
    files = StorageFiles(tmp_path)
    mark = files.mark(stored.path)
    files.remove(stored.path, mark, "1.2")
    files.tidy([stored.path])
    again = receive(store)
    assert not again.duplicate and again.path == stored.path
    assert files.remove(stored.path, mark, "1.2") is Removed.KEPT
    assert (tmp_path / stored.path).read_bytes().endswith(BYTES)


def test_a_crash_between_rename_and_unlink_is_finished(store, tmp_path):
    stored = receive(store)
    files = StorageFiles(tmp_path)
    mark = files.mark(stored.path)
    aside = tmp_path / TRASH / f"{mark.inode:x}-{mark.modified_ns:x}"
    (tmp_path / stored.path).rename(aside)
    receive(store)
    assert files.remove(stored.path, mark, "1.2") is Removed.GONE
    assert not aside.exists()
    assert (tmp_path / stored.path).exists(), "the one that came meanwhile"


def test_acknowledged_objects_survive_a_removal_at_the_same_moment(store, tmp_path):
    """Receives and removes the same object side by side: what came last in time is there."""
    files = StorageFiles(tmp_path)
    for _ in range(150):
        stored = receive(store)
        mark = files.mark(stored.path)
        begin = threading.Barrier(2)

        def remove(begin=begin, path=stored.path, mark=mark):
            begin.wait()
            files.remove(path, mark, "1.2")
            files.tidy([path])

        thread = threading.Thread(target=remove)
        thread.start()
        begin.wait()
        again = receive(store)
        thread.join()
        assert (tmp_path / again.path).exists(), "acknowledged, announced, and gone"
        assert hashlib.sha256((tmp_path / again.path).read_bytes()[-len(BYTES) :]).hexdigest() == (
            again.content_sha256
        )


@pytest.mark.parametrize("path", ["spool/one/x.dcm", "objects/../spool/x", "/etc/passwd", "x"])
def test_only_files_of_objects_are_touched(tmp_path, path):
    with pytest.raises(OutsideStorage):
        StorageFiles(tmp_path).mark(path)


def test_the_file_says_when_it_was_received(store, tmp_path):
    stored = receive(store)
    found, _ = part10.decode((tmp_path / stored.path).read_bytes())
    assert received_at(found, "no spool name") == stored.received_at


def test_a_study_that_is_being_received_is_seen_in_the_spool(store, tmp_path):
    path = datasets.write(datasets.build(StudyInstanceUID="1.2.3"), tmp_path / "x.dcm")
    raw = path.read_bytes()
    _, begin = part10.decode(raw)
    incoming = store.begin(meta())
    incoming.write(raw[begin:])
    incoming.seal()
    assert unannounced_studies(tmp_path) == {"1.2.3"}
    Path(incoming.entry).unlink()
    assert unannounced_studies(tmp_path) == set()


def test_what_another_replica_takes_over_is_seen_all_the_time(tmp_path):
    folders = [tmp_path / layout.SPOOL / f"scp-{n}" for n in range(8)]
    for folder in folders:
        folder.mkdir(parents=True)
        for n in range(100):
            (folder / f"{folder.name}-{n:03}.dcm").touch()
    # The folder that is read first takes the others over.
    own = next((tmp_path / layout.SPOOL).iterdir())
    thread = threading.Thread(target=spool.take_over, args=(own,))
    thread.start()
    seen = set()
    while thread.is_alive():
        seen.add(len(unannounced_entries(tmp_path)))
    assert seen == {800}
    assert len(list(own.glob("*.dcm"))) == 800
