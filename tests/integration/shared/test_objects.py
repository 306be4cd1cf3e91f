"""Received objects on a real file system: durable, never overwritten, never lost.

Not covered here: a power cut, and what the network does (faults, e2e).
"""

import errno
import hashlib
import multiprocessing
import os
import threading
from itertools import product
from pathlib import Path

import pytest
from pydicom import dcmread

from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.storage import spool
from draw_shared.storage.incoming import NoSpace
from draw_shared.storage.layout import TRASH, Layout
from draw_shared.storage.objects import UnsafePath
from support.datasets import build, series
from support.receptions import DEFAULT, encoded, opened, receive, same_instance

EVERY_LAYOUT = [Layout(s, n) for s, n in product(StorageStructure, FileNaming)]


@pytest.fixture
def store(tmp_path):
    store = opened(tmp_path)
    yield store
    store.stop(1)


def kept(root):
    """Return the data sets of all files with a final name, by path."""
    files = [p for top in ("objects", "conflicts") for p in (root / top).rglob("*.dcm")]
    return {str(p.relative_to(root)): encoded(dcmread(p)) for p in files}


@pytest.mark.parametrize("size", [2_000, 3_000_000])
def test_an_object_lies_there_with_its_bytes_and_provenance(store, size):
    made = build(size_bytes=size)
    stored, data = receive(store, made)
    file = store.resolve(stored.path)
    raw = file.read_bytes()
    assert raw.endswith(data) and len(raw) == stored.size_bytes
    assert stored.content_sha256 == hashlib.sha256(data).hexdigest()
    meta = dcmread(file).file_meta
    assert meta.SendingApplicationEntityTitle == "SENDER"
    assert meta.ReceivingApplicationEntityTitle == "DRAW"
    assert file.samefile(stored.entry)
    assert not list(store.spool.glob("*.part"))


@pytest.mark.parametrize("layout", EVERY_LAYOUT, ids=lambda x: f"{x.structure}-{x.naming}")
def test_nothing_is_lost_in_any_layout(store, layout):
    objects = [*series(3), *series(3, PatientID="P2"), *series(2, PatientID="../P1")]
    odd = [same_instance(objects[0], InstanceNumber=1, StudyDescription=str(n)) for n in range(3)]
    sent = [receive(store, made, layout)[1] for made in objects + odd]
    repeated, _ = receive(store, objects[1], layout)
    found = kept(store.root)
    assert repeated.duplicate and repeated.path in found
    assert sorted(found.values()) == sorted(sent)
    assert len(spool.entries(store.spool)) == len(sent) + 1


@pytest.mark.parametrize("layout", EVERY_LAYOUT, ids=lambda x: f"{x.structure}-{x.naming}")
def test_what_a_crash_left_is_the_same_from_the_file_alone(store, layout):
    made = build()
    stored, _ = receive(store, made, layout)
    before = set(kept(store.root))
    again = store.recover(stored.entry, DEFAULT)
    assert set(kept(store.root)) == before
    assert (again.path, again.content_sha256, again.size_bytes, again.identity) == (
        stored.path,
        stored.content_sha256,
        stored.size_bytes,
        stored.identity,
    )
    assert again.meta == stored.meta


def test_an_entry_that_was_not_linked_is_linked_by_recovery(store):
    stored, data = receive(store, build())
    store.resolve(stored.path).unlink()
    assert store.recover(stored.entry, DEFAULT).path == stored.path
    assert list(kept(store.root).values()) == [data]


def test_other_bytes_under_the_same_uid_are_kept_as_a_conflict(store):
    made = build()
    first, data = receive(store, made)
    second, other = receive(store, same_instance(made, StudyDescription="other"))
    again, _ = receive(store, dcmread(store.resolve(second.path)))
    uid = made.SOPInstanceUID
    assert second.path == f"conflicts/{uid}-{second.content_sha256[:12]}.dcm"
    assert again.duplicate and again.path == second.path
    assert kept(store.root) == {first.path: data, second.path: other}


def test_many_threads_with_the_same_names_lose_nothing(store):
    layout = Layout(StorageStructure.FLAT, FileNaming.SEQUENTIAL)
    objects = series(24)
    sent, failures = [], []

    def work(part):
        try:
            sent.extend(receive(store, made, layout)[1] for made in part)
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(objects[n::6],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(kept(store.root).values()) == sorted(sent)


def _receive_all(root, replica, objects, layout):
    store = opened(root, replica)
    for made in objects:
        receive(store, made, layout)
    store.stop(1)


@pytest.mark.parametrize("naming", FileNaming)
def test_many_processes_with_the_same_names_lose_nothing(tmp_path, naming):
    layout = Layout(StorageStructure.FLAT, naming)
    objects = series(5)
    groups = [
        [same_instance(made, InstanceNumber=1, StudyDescription=str(n)) for made in objects]
        for n in range(3)
    ]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_receive_all, args=(tmp_path, f"r{n}", group, layout))
        for n, group in enumerate(groups)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(50)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    expected = sorted(encoded(made) for group in groups for made in group)
    assert sorted(kept(tmp_path).values()) == expected


@pytest.mark.parametrize(
    ("call", "size"),
    [
        ("writev", 2_000),
        ("pwrite", 2_500_000),
        ("pwrite", 200_000),
        ("fsync", 200_000),
        ("link", 2_000),
        ("mkdir", 2_000),
    ],
)
def test_a_full_disk_leaves_nothing_behind(store, monkeypatch, call, size):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(NoSpace):
        receive(store, build(size_bytes=size))
    monkeypatch.undo()
    assert not kept(store.root)
    assert {p.name for p in store.spool.iterdir()} == {spool.LOCK_NAME}


def test_a_folder_sync_that_fails_leaves_nothing_behind(store, monkeypatch):
    def broken(_descriptor):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="input/output"):
        receive(store, build())
    monkeypatch.undo()
    assert not kept(store.root)
    assert not spool.entries(store.spool)


def test_one_folder_sync_serves_many(store, monkeypatch):
    real, calls = os.fsync, []

    def counted(descriptor):
        calls.append(descriptor)
        threading.Event().wait(0.05)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    objects = series(16)
    threads = [threading.Thread(target=receive, args=(store, made)) for made in objects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spool.entries(store.spool)) == 16
    assert len(calls) < 12


def test_released_entries_are_gone_and_the_objects_stay(store):
    stored, data = receive(store, build())
    store.release([stored])
    assert not spool.entries(store.spool)
    assert list(kept(store.root).values()) == [data]


@pytest.mark.parametrize("path", ["/etc/passwd", "objects/../../x", "..", "a\0b"])
def test_paths_outside_the_root_are_refused(store, path):
    with pytest.raises(UnsafePath):
        store.resolve(path)


def test_a_name_that_is_vacated_while_it_is_looked_at_is_used(store, tmp_path, monkeypatch):
    made = build()
    first, _ = receive(store, made)
    store.release([first])
    samefile = Path.samefile

    def vacated(self, other):
        # A remover renames a deleted object's file out of the way.
        self.rename(tmp_path / TRASH / "deleted")
        return samefile(self, other)

    monkeypatch.setattr(Path, "samefile", vacated)
    again, _ = receive(opened(tmp_path, "two"), made)
    assert (again.path, again.duplicate) == (first.path, False)
