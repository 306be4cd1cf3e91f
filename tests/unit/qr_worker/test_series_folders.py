"""Folders of other programs: complete or not at all, growth file by file, the marker last."""

import errno
import os
from hashlib import sha256
from uuid import UUID

import pytest

from draw_qr_worker.adapters.series_folders import FolderUnavailable, SeriesFolders
from draw_qr_worker.models import Cancelled, HandedSeries, IndexedObject, Item, StoredFileAway
from draw_shared.routing.destinations import FolderPlace
from draw_shared.storage import handed_files

SERIES = "1.2.3"
A, B, C = ("a" * 32, "b" * 32, "c" * 32)
"""Jobs; the second one goes on."""


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "storage"
    made.mkdir()
    return made


def stored(root, *numbers, suffix=b""):
    objects = []
    for number in numbers:
        path = root / f"{number}.dcm"
        content = b"object %d%b" % (number, suffix)
        # Another content is another file.
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        item = Item("1.2", SERIES, f"1.2.3.{number}")
        digest = sha256(content).digest()
        objects.append(IndexedObject(item, "1.2.840.10008.1.2", path.name, 8, digest))
    return objects


def place_of(tmp_path, **fields):
    return FolderPlace(path=str(tmp_path / "handler"), **fields)


class Known:
    """What folders were given, and which jobs are not over."""

    def __init__(self):
        self.before = {}
        self.unfinished = {UUID(B)}

    def put(self, root, place, objects, writer=f"{A}-1", check=lambda: None, *, whole=True):
        folders = SeriesFolders(root, self.unfinished.intersection)
        series = HandedSeries(objects, dict(self.before), whole)
        target = folders.put(place, series, writer, check)
        self.before |= {one.item.sop_instance_uid: one.content_sha256 for one in objects}
        return target


def put(root, place, objects, writer=f"{A}-1", check=lambda: None):
    return Known().put(root, place, objects, writer, check)


def test_a_series_is_linked_and_grows(root, tmp_path):
    known, place = Known(), place_of(tmp_path, ready_marker=".ready")
    target = known.put(root, place, stored(root, 1, 2))
    assert sorted(f.name for f in target.iterdir()) == [".ready", "1.2.3.1.dcm", "1.2.3.2.dcm"]
    assert (target / "1.2.3.1.dcm").stat().st_nlink == 2
    (target / "1.2.3.2.dcm").unlink()
    (target / "1.2.3.2.dcm").write_bytes(b"its own")
    known.put(root, place, stored(root, 1, 2, 3), f"{B}-1")
    assert (target / "1.2.3.3.dcm").read_bytes() == b"object 3"
    assert (target / "1.2.3.2.dcm").read_bytes() == b"its own"
    assert (target / ".ready").exists()


@pytest.mark.parametrize("files", ["link", "copy"])
@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "forgotten"])
def test_a_changed_object_replaces_its_file_before_the_marker_is_back(
    root, tmp_path, files, remembered
):
    known, place = Known(), place_of(tmp_path, files=files, ready_marker=".ready")
    target = known.put(root, place, stored(root, 1, 2))
    if not remembered:
        known.before.clear()
    objects = [*stored(root, 1), *stored(root, 2, suffix=b" corrected")]
    (root / "2.dcm").rename(root / "away")
    with pytest.raises(StoredFileAway):
        known.put(root, place, objects, f"{B}-1")
    assert not (target / ".ready").exists()
    (root / "away").rename(root / "2.dcm")
    known.put(root, place, objects, f"{B}-2")
    assert (target / "1.2.3.1.dcm").read_bytes() == b"object 1"
    assert (target / "1.2.3.2.dcm").read_bytes() == b"object 2 corrected"
    assert {f.name for f in target.iterdir()} == {".ready", "1.2.3.1.dcm", "1.2.3.2.dcm"}


def test_a_link_that_is_made_anew_leaves_no_second_name(root, tmp_path):
    known, place = Known(), place_of(tmp_path)
    objects = stored(root, 1)
    target = known.put(root, place, objects)
    known.before = {"1.2.3.1": b"of a worker that was killed before it kept what it gave"}
    known.put(root, place, objects, f"{A}-2")
    assert [f.name for f in target.iterdir()] == ["1.2.3.1.dcm"]


def test_an_object_alone_sets_no_marker_and_takes_one_away(root, tmp_path):
    known, place = Known(), place_of(tmp_path, ready_marker=".ready")
    target = known.put(root, place, stored(root, 1), whole=False)
    assert [f.name for f in target.iterdir()] == ["1.2.3.1.dcm"]
    known.put(root, place, stored(root, 1))
    # It lies there already: nothing changes.
    known.put(root, place, stored(root, 1), whole=False)
    assert (target / ".ready").exists()
    known.put(root, place, stored(root, 2), whole=False)
    assert sorted(f.name for f in target.iterdir()) == ["1.2.3.1.dcm", "1.2.3.2.dcm"]
    known.put(root, place, stored(root, 1, 2))
    assert (target / ".ready").exists()


def test_the_marker_is_away_while_files_are_added(root, tmp_path):
    place = place_of(tmp_path, ready_marker=".ready")
    target = put(root, place, stored(root, 1))

    def stop():
        raise Cancelled

    with pytest.raises(Cancelled):
        put(root, place, stored(root, 1, 2), f"{B}-1", stop)
    assert not (target / ".ready").exists()
    put(root, place, stored(root, 1, 2), f"{B}-2")
    assert (target / ".ready").exists()


@pytest.mark.parametrize("files", ["link", "copy"])
def test_a_series_of_which_a_file_is_away_appears_when_it_is_back(root, tmp_path, files):
    place = place_of(tmp_path, files=files, ready_marker=".ready")
    objects = stored(root, 1, 2)
    (root / "1.dcm").rename(root / "away")
    with pytest.raises(StoredFileAway, match=r"1\.2\.3\.1 cannot be read: No such file"):
        put(root, place, objects)
    assert not (tmp_path / "handler" / SERIES).exists()
    (root / "away").rename(root / "1.dcm")
    target = put(root, place, objects, f"{A}-2")
    assert sorted(f.name for f in target.iterdir()) == [".ready", "1.2.3.1.dcm", "1.2.3.2.dcm"]


def test_a_series_that_grows_by_a_file_that_is_away_has_no_marker_until_it_is_back(root, tmp_path):
    place = place_of(tmp_path, ready_marker=".ready")
    target = put(root, place, stored(root, 1))
    objects = stored(root, 1, 2, 3)
    (root / "2.dcm").rename(root / "away")
    with pytest.raises(StoredFileAway):
        put(root, place, objects, f"{B}-1")
    assert sorted(f.name for f in target.iterdir()) == ["1.2.3.1.dcm", "1.2.3.3.dcm"]
    (root / "away").rename(root / "2.dcm")
    put(root, place, objects, f"{B}-2")
    assert {".ready", "1.2.3.2.dcm"} < {f.name for f in target.iterdir()}


def test_copies_are_files_of_their_own(root, tmp_path):
    target = put(root, place_of(tmp_path, files="copy"), stored(root, 1))
    assert (target / "1.2.3.1.dcm").stat().st_nlink == 1


def test_where_linking_is_impossible_files_are_copied(root, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    objects = stored(root, 1)
    monkeypatch.setattr(handed_files.os, "link", refuse)
    target = put(root, place_of(tmp_path), objects)
    assert (target / "1.2.3.1.dcm").read_bytes() == b"object 1"
    assert (target / "1.2.3.1.dcm").stat().st_nlink == 1


def test_a_folder_that_takes_nothing_says_why_and_takes_it_later(root, tmp_path):
    blocked = tmp_path / "handler"
    blocked.write_text("a file where the folder should be")
    for _ in range(2):
        with pytest.raises(FolderUnavailable, match="Not a directory"):
            put(root, place_of(tmp_path), stored(root, 1))
    blocked.unlink()
    assert len(list(put(root, place_of(tmp_path), stored(root, 1)).iterdir())) == 1


def test_an_execution_that_stops_leaves_nothing(root, tmp_path):
    def stop():
        raise Cancelled

    with pytest.raises(Cancelled):
        put(root, place_of(tmp_path), stored(root, 1), f"{A}-1", stop)
    assert list((tmp_path / "handler").iterdir()) == []


def test_what_was_killed_has_left_is_removed_unless_its_job_goes_on(root, tmp_path):
    place = place_of(tmp_path)
    folder = tmp_path / "handler"
    target = put(root, place, stored(root, 1), f"{A}-1")
    for job in (A, B, C):
        (folder / f".{SERIES}.{job}-1.part").mkdir()
        (folder / f".1.2.4.{job}-1.part").mkdir()
        (target / f".1.2.3.1.dcm.{job}-1.part").write_bytes(b"half")
    others = (".ready", ".1.2.3.part.ial", "other.part")
    for name in others:
        (target / name).touch()
    put(root, place, stored(root, 1), f"{A}-2")
    assert {f.name for f in folder.iterdir()} == {
        f".{SERIES}.{B}-1.part",
        f".1.2.4.{B}-1.part",
        SERIES,
    }
    assert {f.name for f in target.iterdir()} == {
        "1.2.3.1.dcm",
        f".1.2.3.1.dcm.{B}-1.part",
        *others,
    }


def test_what_an_indexer_has_left_that_handed_over_itself_is_removed(root, tmp_path):
    left = tmp_path / "handler" / f".{SERIES}.part"
    left.mkdir(parents=True)
    (left / "half.dcm").write_bytes(b"half")
    put(root, place_of(tmp_path), stored(root, 1))
    assert [f.name for f in (tmp_path / "handler").iterdir()] == [SERIES]


def test_a_folder_above_the_storage_is_refused(root, tmp_path):
    with pytest.raises(FolderUnavailable, match="one inside the other"):
        put(root, FolderPlace(path=str(tmp_path)), stored(root, 1))


def test_a_series_folder_that_leads_into_the_storage_is_refused(root, tmp_path):
    objects = stored(root, 1)
    own = root / "objects" / SERIES
    own.mkdir(parents=True)
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / SERIES).symlink_to(own)
    with pytest.raises(FolderUnavailable, match="inside the other"):
        put(root, place_of(tmp_path), objects)
    assert list(own.iterdir()) == []


def test_a_series_folder_that_its_program_has_moved_is_followed_when_it_is_there(root, tmp_path):
    known, place = Known(), place_of(tmp_path, ready_marker=".ready")
    target = known.put(root, place, stored(root, 1))
    moved = tmp_path / "volume"
    target.rename(moved)
    target.symlink_to(moved)
    known.put(root, place, stored(root, 1, 2))
    assert {f.name for f in moved.iterdir()} == {"1.2.3.1.dcm", "1.2.3.2.dcm", ".ready"}
    moved.rename(tmp_path / "unmounted")
    with pytest.raises(FolderUnavailable):
        known.put(root, place, stored(root, 1, 2, 3))
    (tmp_path / "unmounted").rename(moved)
    known.put(root, place, stored(root, 1, 2, 3))
    assert (moved / "1.2.3.3.dcm").exists()
    assert {f.name for f in target.parent.iterdir()} == {SERIES}
