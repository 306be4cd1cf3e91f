"""One object, one file, while two receivers, an indexer and two removers work at once."""

import itertools
import os
import queue
import random
import threading
import time
from pathlib import Path

import pytest

from draw_indexer.adapters.copies import FileCopies
from draw_indexer.models import FileMissing
from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.storage.layout import Layout
from support import datasets
from support.indexed import IndexedStorage
from support.receptions import opened, receive

pytestmark = [pytest.mark.integration, pytest.mark.fault]

LAYOUTS = [Layout(*pair) for pair in itertools.product(StorageStructure, FileNaming)]
NAMED = "SELECT path FROM instances UNION SELECT path FROM instance_conflicts"
ROUNDS = int(os.environ.get("DRAW_TEST_ROUNDS", "20"))
"""More of them take longer, and meet more of what is rare."""
LONGEST_PAUSE_SECONDS = 0.06
RECEPTIONS = 25
BATCH = 5


class Hustle:
    """Threads that work on the same few objects until nothing is left to announce."""

    def __init__(self, archive, seed):
        self.archive = archive
        self.seed = seed
        self.objects = datasets.series(3) + datasets.series(3)
        self.stores = [archive.store, opened(archive.root, "two")]
        self.announced = queue.Queue()
        self.received = threading.Event()
        self.errors = []

    def run(self):
        receivers = [self._thread(self._receive, number) for number in range(4)]
        others = [self._thread(work) for work in (self._index, self._remove, self._remove)]
        for thread in [*receivers, *others]:
            thread.start()
        for thread in receivers:
            thread.join()
        self.received.set()
        for thread in others:
            thread.join()
        self.stores[1].stop(5)

    def _thread(self, work, *given):
        return threading.Thread(target=self._guarded, args=(work, *given))

    def _guarded(self, work, *given):
        try:
            work(*given)
        except Exception as error:
            self.errors.append(repr(error))
            raise

    def _receive(self, number):
        chance = random.Random(10 * self.seed + number)
        store = self.stores[number % 2]
        for _ in range(RECEPTIONS):
            stored, _ = receive(store, chance.choice(self.objects), chance.choice(LAYOUTS))
            self.announced.put(stored)
            store.release([stored])

    def _index(self):
        while not (self.received.is_set() and self.announced.empty()):
            batch = list(itertools.islice(iter(self._next, None), BATCH))
            # A copy may have gone before its announcement came: that is seen the second time.
            for failure in self.archive.failures(*batch, attempt=1):
                # What a removal may bring back is announced again, as the broker does.
                if isinstance(failure.error, FileMissing):
                    self.announced.put(batch[failure.delivery.tag - 1])
                else:
                    self.errors.append(repr(failure))

    def _next(self):
        try:
            return self.announced.get(timeout=0.02)
        except queue.Empty:
            return None

    def _remove(self):
        copies = FileCopies(self.archive.database, self.archive.root)
        while not self.received.is_set():
            copies.remove(50)


@pytest.mark.parametrize("seed", range(3))
def test_many_at_once_leave_one_file_for_each_object(tmp_path, database, seed):
    archive = IndexedStorage(tmp_path, database)
    hustle = Hustle(archive, seed)
    try:
        hustle.run()
    finally:
        archive.close()
    assert hustle.errors == []
    # What a receiver touched while it was on its way out goes in the next round.
    for _ in range(3):
        archive.settle()
    files, rows = archive.files(), set(archive.scalars(NAMED))
    assert files - rows == set(), "files without a row"
    assert rows - files == set(), "rows without a file"
    uids = [archive.content(path).sop_instance_uid for path in files]
    assert len(uids) == len(set(uids)), "one file for each object"
    assert archive.scalars("SELECT path FROM file_copies") == []


def linger(monkeypatch):
    """Have removers and receivers take their time between the two looks of each."""
    rename, utime, chance = Path.rename, os.utime, random.Random(1)

    def renamed(self, target):
        moved = rename(self, target)
        time.sleep(LONGEST_PAUSE_SECONDS)
        return moved

    def claimed(*given, **named):
        time.sleep(chance.uniform(0.01, LONGEST_PAUSE_SECONDS))
        utime(*given, **named)

    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(os, "utime", claimed)


def test_an_object_that_is_sent_again_while_its_copy_goes_has_one_file(
    tmp_path, database, monkeypatch
):
    archive = IndexedStorage(tmp_path, database)
    layout = Layout(StorageStructure.STUDY, FileNaming.SEQUENTIAL)
    linger(monkeypatch)
    for _ in range(ROUNDS):
        made = datasets.build()
        archive.receive(made, layout=layout)
        archive.restart()
        archive.receive(made, layout=layout)
        removing = threading.Thread(target=FileCopies(database, tmp_path).remove, args=(50,))
        removing.start()
        again, _ = receive(archive.store, made, layout)
        removing.join()
        archive.failures(again, attempt=1)
        archive.store.release([again])
    for _ in range(3):
        archive.settle()
    archive.close()
    assert archive.files() == set(archive.scalars(NAMED))
    assert len(archive.files()) == ROUNDS
