"""One object, one file, while two receivers, an indexer and two removers work at once."""

import itertools
import queue
import random
import threading

import pytest

from draw_indexer.adapters.copies import FileCopies
from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.storage.layout import Layout
from support import datasets
from support.indexed import IndexedStorage
from support.receptions import opened, receive

pytestmark = [pytest.mark.integration, pytest.mark.fault]

LAYOUTS = [Layout(*pair) for pair in itertools.product(StorageStructure, FileNaming)]
NAMED = "SELECT path FROM instances UNION SELECT path FROM instance_conflicts"
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
            self.errors += map(repr, self.archive.failures(*batch, attempt=1))

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
    archive.settle()
    files, rows = archive.files(), set(archive.scalars(NAMED))
    assert files - rows == set(), "files without a row"
    assert rows - files == set(), "rows without a file"
    uids = [archive.content(path).sop_instance_uid for path in files]
    assert len(uids) == len(set(uids)), "one file for each object"
    assert archive.scalars("SELECT path FROM file_copies") == []
