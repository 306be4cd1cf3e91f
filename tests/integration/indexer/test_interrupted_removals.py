"""Removals that are interrupted or overtaken: no whole bytes are lost, hidden or forgotten.

Each test puts the volume into the state that a kill or an unlucky moment leaves, with the
remover's own steps. Not covered: the kills themselves (tests/faults/test_copy_kills.py,
tests/faults/test_clean_up_kills.py), many at once (test_copies_at_once.py).
"""

import os
from pathlib import Path

import pytest

from draw_indexer.models import FileMissing
from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.storage.layout import TRASH, Layout
from support import datasets
from support.indexed import IndexedStorage
from support.receptions import receive, same_instance

pytestmark = pytest.mark.integration

FLAT = Layout(StorageStructure.FLAT, FileNaming.SEQUENTIAL)
NAMED = "SELECT path FROM instances UNION SELECT path FROM instance_conflicts"
RECORDED = "SELECT path FROM file_copies UNION ALL SELECT path FROM file_deletions"
MARKS = "SELECT path || ' ' || to_hex(inode) || '-' || to_hex(modified_ns) FROM {}"


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path, database)
    yield made
    made.close()


def agree(archive):
    """Return whether rows and files are the same and nothing else is left, once all is settled."""
    for _ in range(3):
        archive.settle()
    assert list((archive.root / TRASH).iterdir()) == []
    assert archive.scalars(RECORDED) == []
    return archive.files() == set(archive.scalars(NAMED))


def put_aside(archive, table):
    """Do what a remover does before it is killed between renaming and unlinking."""
    for line in archive.scalars(MARKS.format(table)):
        path, aside = line.split()
        (archive.root / path).rename(archive.root / TRASH / aside)


def received(archive, made, layout=FLAT):
    stored, _ = receive(archive.store, made, layout)
    archive.store.release([stored])
    return stored


def anew(archive, made):
    """Receive after a restart, so that nobody remembers where the bytes lie."""
    archive.restart()
    return received(archive, made)


def at_the_rename(monkeypatch, act):
    """Have something happen while a remover has a file out of the way."""
    rename = Path.rename

    def renamed(self, target):
        moved = rename(self, target)
        act()
        return moved

    monkeypatch.setattr(Path, "rename", renamed)


# --- deletion --------------------------------------------------------------------------


def test_a_claimed_file_that_is_out_of_the_way_when_its_turn_comes_is_indexed_later(archive):
    made = datasets.build()
    archive.receive(made)
    archive.delete(made.StudyInstanceUID)
    again = received(archive, made, Layout(StorageStructure.SERIES, FileNaming.SOP_UID))
    assert again.duplicate
    archive.headers.then = lambda: put_aside(archive, "file_deletions")
    assert [type(failure.error) for failure in archive.failures(again)] == [FileMissing]
    archive.headers.then = lambda: None
    assert [type(f.error) for f in archive.failures(again, attempt=1)] == [FileMissing]
    archive.settle()
    archive.index(again)
    assert agree(archive)
    assert archive.files() == {again.path}


def test_a_file_that_was_put_aside_goes_when_its_name_is_in_use_again(archive):
    made = datasets.build()
    archive.receive(made)
    archive.delete(made.StudyInstanceUID)
    put_aside(archive, "file_deletions")
    (again,) = archive.receive(made)
    assert not again.duplicate
    assert agree(archive)
    assert archive.files() == {again.path}


def test_a_file_that_a_receiver_touched_too_late_goes_when_the_object_came_anew(
    archive, monkeypatch
):
    made = datasets.build()
    first = received(archive, made)
    archive.index(first)
    archive.delete(made.StudyInstanceUID)
    held = os.open(archive.root / first.path, os.O_RDONLY)
    at_the_rename(monkeypatch, lambda: os.utime(held))
    archive.settle()
    monkeypatch.undo()
    os.close(held)
    assert archive.files() == {first.path}, "it may have been claimed"
    (archive.root / first.path).rename(archive.root / "objects/hidden")
    archive.restart()
    again = received(archive, made, Layout(StorageStructure.STUDY, FileNaming.SEQUENTIAL))
    (archive.root / "objects/hidden").rename(archive.root / first.path)
    archive.index(again)
    assert agree(archive)
    assert archive.files() == {again.path}


def test_a_touched_file_without_any_row_goes_with_the_next_deletion(archive, monkeypatch):
    objects = datasets.series(2)
    first = received(archive, objects[0])
    archive.index(first)
    archive.delete(objects[0].StudyInstanceUID)
    held = os.open(archive.root / first.path, os.O_RDONLY)
    at_the_rename(monkeypatch, lambda: os.utime(held))
    archive.settle()
    monkeypatch.undo()
    os.close(held)
    archive.settle()
    assert archive.scalars(RECORDED) == [first.path], "known as long as nothing decides"
    archive.index(anew(archive, objects[1]))
    archive.delete(objects[1].StudyInstanceUID)
    assert agree(archive)
    assert archive.files() == set()


def test_an_object_whose_name_was_taken_while_it_was_out_of_the_way_is_indexed_where_it_lies(
    archive,
):
    made, other = datasets.build(), datasets.build()
    archive.index(received(archive, made))
    archive.delete(made.StudyInstanceUID)
    claimed = received(archive, made)
    assert claimed.duplicate
    put_aside(archive, "file_deletions")
    taking = anew(archive, other)
    assert taking.path == claimed.path
    archive.index(taking)
    [waiting] = archive.failures(claimed)
    assert isinstance(waiting.error, FileMissing), "it is known that it comes back"
    archive.settle()
    archive.index(claimed)
    assert agree(archive)
    assert archive.studies() == {made.StudyInstanceUID, other.StudyInstanceUID}
    assert len(archive.files()) == 2


@pytest.mark.parametrize("version", [False, True], ids=["another object", "another version"])
def test_a_deleted_object_whose_name_is_given_again_does_not_come_back(archive, version):
    made = datasets.build()
    stored = received(archive, made)
    archive.index(stored)
    other = same_instance(made, StudyDescription="other") if version else datasets.build()
    taking = []

    def give_the_name_again():
        archive.headers.then = lambda: None
        archive.delete(made.StudyInstanceUID)
        archive.settle()
        taking.append(anew(archive, other))

    archive.headers.then = give_the_name_again
    archive.failures(stored)
    assert taking[0].path == stored.path
    assert archive.scalars(NAMED) == []
    assert archive.failures(stored, attempt=1) == []
    archive.index(taking[0])
    assert agree(archive)
    assert archive.scalars("SELECT encode(content_sha256, 'hex') FROM instances") == [
        taking[0].content_sha256
    ]


# --- copies ----------------------------------------------------------------------------


def copies(archive, made, number=2):
    """Receive and index an object that many times, to as many files."""
    stored = [received(archive, made)] + [anew(archive, made) for _ in range(number - 1)]
    assert len({each.path for each in stored}) == number
    archive.index(*stored)
    return stored


def test_several_copies_of_one_object_whose_file_is_missing_leave_one(archive):
    first, *_ = copies(archive, datasets.build(), 4)
    (archive.root / first.path).unlink()
    assert agree(archive)
    assert len(archive.files()) == 1


def test_a_copy_that_a_receiver_touched_too_late_goes_all_the_same(archive, monkeypatch):
    first, second = copies(archive, datasets.build())
    held = os.open(archive.root / second.path, os.O_RDONLY)
    at_the_rename(monkeypatch, lambda: os.utime(held))
    archive.settle()
    monkeypatch.undo()
    os.close(held)
    assert archive.files() == {first.path, second.path}, "it may have been claimed"
    assert agree(archive)
    assert archive.files() == {first.path}


def test_a_copy_that_was_put_aside_is_whole_and_replaces_a_damaged_one(archive):
    first, second = copies(archive, datasets.build())
    put_aside(archive, "file_copies")
    (archive.root / second.path).write_bytes((archive.root / first.path).read_bytes()[:-4])
    (archive.root / first.path).unlink()
    for _ in range(2):
        archive.settle()
    [path] = archive.scalars(NAMED)
    assert archive.content(path).content_sha256 == first.content_sha256
    assert list((archive.root / TRASH).iterdir()) == []


def test_a_copy_that_was_put_aside_comes_back_when_its_object_has_no_other_file(archive):
    first, second = copies(archive, datasets.build())
    put_aside(archive, "file_copies")
    (archive.root / first.path).unlink()
    archive.execute("DELETE FROM patients")
    archive.settle()
    assert archive.files() == {second.path}
    archive.index(second)
    assert agree(archive)
    assert archive.files() == {second.path}
