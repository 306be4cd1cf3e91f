"""The disk as it is when the power goes: with what was written to it, without the page cache.

A file system lies on a loop device. While objects come in, the receiving process is stopped
and the device copied; the copy is repaired and read as after the next boot. Not covered
here: a device that loses what it was told to flush.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from draw_shared.storage import spool
from draw_shared.storage.objects import ObjectStore
from support import small_disk
from support.receptions import DEFAULT
from support.service_finder import program

pytestmark = [pytest.mark.e2e, pytest.mark.fault]

DISK_BYTES = 1024**3
SECONDS = 3.0
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("feature", ["has_journal", "^has_journal"])
def test_what_was_acknowledged_is_there_after_the_next_boot(tmp_path, feature):
    image, cut = tmp_path / "disk", tmp_path / "cut"
    small_disk.format_image(image, DISK_BYTES, "-O", feature)
    with small_disk.mounted_image(image, tmp_path / "before") as folder:
        receiver = subprocess.Popen(
            [sys.executable, "-m", "support.power_cut_child", str(folder)],
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            acknowledged = [receiver.stdout.readline()]
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline or len(acknowledged) <= 100:
                acknowledged.append(receiver.stdout.readline())
            receiver.send_signal(signal.SIGSTOP)
            subprocess.run(["cp", "--sparse=always", str(image), str(cut)], check=True)
        finally:
            receiver.kill()
            rest = receiver.communicate()[0]
    # The last line may have been under way when the power went.
    acknowledged += rest.splitlines(keepends=True)
    repaired = subprocess.run(
        [program("e2fsck", "e2fsprogs"), "-fy", str(cut)], check=False, capture_output=True
    )
    assert repaired.returncode in {0, 1}
    with small_disk.mounted_image(cut, tmp_path / "after") as folder:
        store = ObjectStore(folder, "one")
        store.start()
        announced = {}
        for entry in spool.entries(store.spool):
            stored = store.recover(entry, DEFAULT)
            announced[stored.meta.sop_instance_uid] = (stored.path, stored.content_sha256)
        lost = [
            uid
            for uid, path, digest in map(str.split, acknowledged)
            if announced.get(uid) != (path, digest) and not whole(store, path, digest)
        ]
        store.stop(1)
    assert not lost, f"{len(lost)} of {len(acknowledged)}"


def whole(store, path, digest):
    """Return whether a released object lies at its final name with its bytes."""
    file = store.resolve(path)
    return file.exists() and digest in {
        found.content_sha256 for found in [store.recover(str(file), DEFAULT)]
    }
