"""The configuration on the storage volume: whole, newest first, never older than before."""

import errno
import os
import threading

import pytest
from structlog.testing import capture_logs

from draw_shared.contracts.config_snapshot import AllowedPeer, ConfigSnapshot
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.storage.config_file import ConfigFile
from support.small_disk import fill, mounted


def snapshot(version, *allowed):
    document = EVERYTHING.model_dump(mode="json")
    return ConfigSnapshot(version, document, tuple(AllowedPeer(title) for title in allowed))


@pytest.fixture
def file(tmp_path):
    return ConfigFile(tmp_path, "one")


@pytest.fixture
def newest(tmp_path):
    """The path of the newest version's file."""
    return tmp_path / "config" / "snapshot.json"


def test_an_empty_volume_keeps_none(file):
    with capture_logs() as logs:
        assert file.versions() == []
    assert logs == []


def test_the_newest_and_the_version_before_are_kept(file, tmp_path):
    for version in (1, 2, 3):
        file.keep(snapshot(version))
    assert [kept.version for kept in file.versions()] == [3, 2]
    assert ConfigFile(tmp_path, "two").versions() == file.versions()
    assert file.versions()[0].release
    names = {path.name for path in (tmp_path / "config").iterdir()}
    assert names == {"snapshot.json", "snapshot.before.json"}


def test_a_version_gives_way_to_another_of_its_number_and_to_no_older_one(file):
    file.keep(snapshot(5))
    file.keep(snapshot(6, "CT1", "CT2"))
    file.keep(snapshot(6, "CT1"))
    file.keep(snapshot(4))
    assert file.versions() == [snapshot(6, "CT1"), snapshot(5)]


def test_what_is_kept_already_is_not_written_again(file, newest):
    file.keep(snapshot(1))
    written = newest.stat().st_ino
    file.keep(snapshot(1))
    assert newest.stat().st_ino == written


@pytest.mark.parametrize("left", [0, 100, -2])
def test_with_the_newest_half_written_the_version_before_counts_and_the_log_says_so(
    file, newest, left
):
    file.keep(snapshot(1))
    file.keep(snapshot(2))
    newest.write_bytes(newest.read_bytes()[:left])
    with capture_logs() as logs:
        assert file.versions() == [snapshot(1)]
        assert file.versions() == [snapshot(1)]
    [line] = logs
    assert line["event"] == "config.snapshot_unreadable"
    assert line["file"] == "snapshot.json"
    file.keep(snapshot(2))
    assert file.versions() == [snapshot(2), snapshot(1)]


def test_a_writer_that_died_between_two_names_leaves_the_version_before(file, newest):
    file.keep(snapshot(1))
    file.keep(snapshot(2))
    newest.replace(newest.with_name("snapshot.before.json"))
    newest.with_name("snapshot.two.new").write_bytes(b"half")
    assert file.versions() == [snapshot(2)]
    file.keep(snapshot(3))
    assert file.versions() == [snapshot(3), snapshot(2)]


def test_times_of_files_mean_nothing(file, newest):
    file.keep(snapshot(1))
    file.keep(snapshot(2))
    os.utime(newest, (0, 0))
    os.utime(newest.with_name("snapshot.before.json"), (2**33, 2**33))
    assert file.versions() == [snapshot(2), snapshot(1)]


def test_a_full_disk_keeps_what_it_has_and_leaves_no_half_file(tmp_path):
    with mounted(tmp_path / "disk", "size=64k") as folder:
        file = ConfigFile(folder, "one")
        file.keep(snapshot(1))
        filler = fill(folder)
        with pytest.raises(OSError) as refused:  # noqa: PT011 - the number says which
            file.keep(snapshot(2))
        assert refused.value.errno == errno.ENOSPC
        assert file.versions() == [snapshot(1)]
        assert [path.name for path in (folder / "config").iterdir()] == ["snapshot.json"]
        filler.unlink()
        file.keep(snapshot(2))
        assert file.versions() == [snapshot(2), snapshot(1)]


def test_a_folder_that_cannot_be_made_is_told_to_who_writes_and_none_to_who_reads(tmp_path):
    (tmp_path / "config").write_text("a file")
    file = ConfigFile(tmp_path, "one")
    with capture_logs() as logs:
        assert file.versions() == []
    assert {line["reason"] for line in logs} == {"NotADirectoryError"}
    with pytest.raises(OSError, match="exists"):
        file.keep(snapshot(1))


def test_writers_side_by_side_leave_a_whole_file_of_the_newest_version(tmp_path, file):
    file.keep(snapshot(1))

    def write(name):
        file = ConfigFile(tmp_path, name)
        for version in range(2, 30):
            file.keep(snapshot(version))
            assert file.versions()

    writers = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert ConfigFile(tmp_path, "reader").versions()[0].version == 29
