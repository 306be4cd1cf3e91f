"""The clean-up is killed with SIGKILL at random moments, twenty times and more.

After every kill each row has its file and each file without row is on record as to be
removed; in the end disk and index agree. Not covered: a kernel that stops, power cuts.
"""

import random
import time

import pytest

from draw_api.adapters.reconcile_queries import PostgresIndexAuditRepository
from draw_api.adapters.stored_files import VolumeFiles
from draw_api.services.reconcile import ReconcileService
from draw_shared.storage.layout import TRASH
from support import datasets
from support.forked import children
from support.indexed import IndexedStorage

pytestmark = pytest.mark.fault

KILLS = 20
DAYS = 30
STUDIES = 25
OBJECTS = 6
PATHS = "SELECT path FROM instances UNION SELECT path FROM instance_conflicts"
RECORDED = "SELECT path FROM file_deletions"


def fill(archive):
    """Add studies that are old enough to go, and one that is not."""
    for _ in range(STUDIES):
        archive.receive(*datasets.series(OBJECTS), days_ago=DAYS + 10)
    stays = datasets.series(2)
    archive.receive(*stays)
    return stays[0].StudyInstanceUID


def agreement(archive):
    """Return rows without file, and files that nobody would find again."""
    # Files first: what goes meanwhile has gone from the rows before.
    recorded = set(archive.scalars(RECORDED))
    rows, files = set(archive.scalars(PATHS)), archive.files()
    return rows - files, files - rows - recorded


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path, database)
    yield made
    made.close()


def test_killed_at_any_moment_rows_and_files_agree(archive, tmp_path, database_url):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    kept = {fill(archive)}
    interrupted = between = 0
    with children("support.clean_up_child", database_url, tmp_path, DAYS) as cleaning:
        for _ in range(KILLS * 5):
            if len(archive.studies()) - len(kept) < STUDIES // 3:
                kept.add(fill(archive))
            before = len(archive.studies())
            cleaning.start()
            wait_for_work(archive, before)
            time.sleep(chance.uniform(0, 0.05))
            cleaning.kill()
            killed = cleaning.end() == -9
            assert agreement(archive) == (set(), set()), f"seed {seed}"
            interrupted += killed
            between += killed and bool(archive.scalars(RECORDED))
            if interrupted >= KILLS:
                break
        assert interrupted >= KILLS, "it was hardly ever at work when it was killed"
        assert between, "no kill met it between rows and files"
        cleaning.start()
        assert cleaning.end() == 0
    assert archive.studies() == kept, f"seed {seed}"
    assert archive.files() == set(archive.scalars(PATHS))
    assert archive.scalars(RECORDED) == []
    assert list((tmp_path / TRASH).iterdir()) == []
    assert not differences(archive).any


def wait_for_work(archive, before):
    """Return when the child has begun, however slow the machine is."""
    started = time.monotonic()
    while len(archive.studies()) == before and time.monotonic() - started < 20:
        time.sleep(0.002)


def differences(archive):
    """Return what `draw-admin reconcile` finds."""
    with archive.database.session() as session:
        files = VolumeFiles(archive.root)
        return ReconcileService(
            PostgresIndexAuditRepository(session), files, None, None
        ).differences(time.time() + 1)
