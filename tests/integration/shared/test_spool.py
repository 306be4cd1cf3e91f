"""Spool folders have one owner; what a dead owner left is taken over whole."""

import os
import time

import pytest

from draw_shared.storage import spool
from draw_shared.storage.spool import HEARTBEAT_TIMEOUT_SECONDS, SpoolTaken
from support.datasets import build
from support.receptions import DEFAULT, opened, receive


def silence(folder):
    past = time.time() - HEARTBEAT_TIMEOUT_SECONDS - 1
    os.utime(folder / spool.LOCK_NAME, (past, past))


def test_a_folder_has_one_owner(tmp_path, monkeypatch):
    store = opened(tmp_path)
    monkeypatch.setattr("draw_shared.storage.objects.LOCK_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(SpoolTaken):
        opened(tmp_path)
    store.stop(1)
    opened(tmp_path).stop(1)


def test_a_running_replica_keeps_its_folder_however_silent(tmp_path):
    other, own = opened(tmp_path, "other"), opened(tmp_path, "own")
    receive(other, build())
    silence(other.spool)
    assert spool.take_over(own.spool) == 0
    other.stop(1)
    own.stop(1)


def test_a_dead_replica_is_taken_over_after_a_while(tmp_path):
    other, own = opened(tmp_path, "other"), opened(tmp_path, "own")
    stored, _ = receive(other, build())
    (other.spool / "0.part").write_bytes(b"half")
    (other.spool / f"1{spool.OPEN_SEGMENT}").write_bytes(b"{}\n")
    other.stop(1)
    assert spool.take_over(own.spool) == 0, "it may be about to come back"
    silence(other.spool)
    assert spool.take_over(own.spool) == 2
    assert not other.spool.exists()
    [entry] = spool.entries(own.spool)
    assert len(spool.segments(own.spool)) == 1
    again = own.recover(entry, DEFAULT)
    assert again.path == stored.path
    assert again.meta.provenance["replica"] == "one"
    own.stop(1)


def test_incomplete_files_are_gone_after_a_start(tmp_path):
    store = opened(tmp_path)
    (store.spool / "0.part").write_bytes(b"half")
    store.stop(1)
    store = opened(tmp_path)
    assert not list(store.spool.glob("*.part"))
    store.stop(1)
