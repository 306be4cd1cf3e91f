"""One object, one file, in every storage structure with every naming, and deleted means gone.

The services as processes, one start for all: two associations send the same at once, the
receiver is killed, everything comes again under its own layout and under another, studies are
deleted, the index is rebuilt. In between, and in the end, files and rows are the same.

Not covered: an indexer that is killed (test_copy_kills), damaged files
(tests/integration/indexer/test_copies.py).
"""

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from draw_shared.contracts.server_config import FileNaming, StorageStructure
from support import datasets
from support.indexed import files_below, stored_files
from support.senders import send_objects
from support.suite import Suite, draw_admin, set_receiver_config, signed_in
from support.waiting import wait_until

pytestmark = pytest.mark.fault

LAYOUTS = list(itertools.product(StorageStructure, FileNaming))
NAMED = "SELECT path FROM instances UNION SELECT path FROM instance_conflicts"


@pytest.fixture
def suite(tmp_path, database_url, broker_url):
    made = Suite(tmp_path, database_url, broker_url, DRAW_SCP_PROCESSES="2")
    made.seed()
    try:
        made.start()
        with signed_in(made.web_url) as admin:
            made.admin = admin
            yield made
    finally:
        made.end()


def file_as(suite, structure, naming):
    """Have the receiver file what comes from now on like this."""
    set_receiver_config(suite, storage={"structure": structure, "naming": naming})


def send_twice(suite, objects):
    """Send the same on two associations at once."""
    with ThreadPoolExecutor(2) as senders:
        sent = [senders.submit(send_objects, suite.dicom_port, objects) for _ in range(2)]
        for each in sent:
            assert set(each.result()) == {0}


def agree(suite):
    """Return once everything is announced, indexed and tidied: files and rows are the same."""

    def same():
        waiting = [p for p in files_below(suite.storage / "spool") if p.suffix == ".dcm"]
        copies = suite.rows("SELECT path FROM file_copies UNION SELECT path FROM file_deletions")
        rows = {row["path"] for row in suite.rows(NAMED)}
        return not waiting and not copies and rows == stored_files(suite.storage)

    assert wait_until(same, 60)


def restart_receiver(suite):
    suite.kill("scp")
    suite.start("scp")


def studies(suite):
    return {row["uid"] for row in suite.rows("SELECT study_instance_uid AS uid FROM studies")}


def send_in_every_layout(suite, sent):
    for layout, objects in sent.items():
        file_as(suite, *layout)
        send_twice(suite, objects)


def set_aside(suite, study_uid):
    """Copy one file of a study as a backup does; return the copy and where the file lies."""
    kept = suite.folder / "backup.dcm"
    place = suite.rows(
        "SELECT i.path FROM instances i JOIN series r ON r.id = i.series_pk"
        " JOIN studies s ON s.id = r.study_pk WHERE s.study_instance_uid = :u",
        u=study_uid,
    )[0]["path"]
    shutil.copy2(suite.storage / place, kept)
    return kept, suite.storage / place


def bring_back(suite, kept, place, copy):
    """Copy a file back as a backup does it, rebuild the index, and return what that says."""
    place.parent.mkdir(parents=True, exist_ok=True)
    copy(kept, place)
    told = draw_admin(suite, "reindex")
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_in_every_layout_files_and_rows_are_the_same_whatever_happens(suite):
    sent = {layout: datasets.series(2) for layout in LAYOUTS}
    everything = [made for objects in sent.values() for made in objects]
    send_in_every_layout(suite, sent)
    agree(suite)
    assert len(stored_files(suite.storage)) == len(everything)

    # Killed, and sent again: under another layout, and each under its own.
    restart_receiver(suite)
    file_as(suite, StorageStructure.DATE, FileNaming.TIMESTAMP)
    send_twice(suite, everything)
    restart_receiver(suite)
    send_in_every_layout(suite, sent)
    agree(suite)
    assert len(stored_files(suite.storage)) == len(everything)
    assert suite.rows("SELECT FROM instance_conflicts") == []
    [copies] = suite.rows("SELECT last_value FROM file_copies_id_seq")
    assert copies["last_value"] > len(everything), "nothing was ever there twice"

    # Objects are under way while their studies go.
    deleted = {str(sent[layout][0].StudyInstanceUID) for layout in LAYOUTS[::2]}
    left = {str(made.StudyInstanceUID) for made in everything} - deleted
    one = min(deleted)
    kept, place = set_aside(suite, one)
    restart_receiver(suite)
    send_twice(suite, everything)
    for uid in deleted:
        answer = suite.admin.delete(f"/api/v1/studies/{uid}", params={"reason": "withdrawn"})
        gone = answer.raise_for_status().json()
        assert gone["instances"] == 2 <= gone["files"]
    agree(suite)
    assert studies(suite) == left
    assert len(stored_files(suite.storage)) == 2 * len(left)

    # A backup brings a file back, and the index is rebuilt.
    assert "1 deleted since and not indexed" in bring_back(suite, kept, place, shutil.copy2)
    agree(suite)
    assert studies(suite) == left
    # Without its time it is newer than the deletion.
    told = bring_back(suite, kept, place, shutil.copy)
    assert f"study {one} was deleted and is indexed again" in told
    assert wait_until(lambda: studies(suite) == left | {one}, 60)

    # Received again, it is there again.
    send_twice(suite, [made for made in everything if made.StudyInstanceUID == one])
    assert wait_until(lambda: studies(suite) == left | {one}, 60)
    agree(suite)
    told = draw_admin(suite, "reconcile", "--new-seconds", "0")
    assert told.returncode == 0, told.stdout
