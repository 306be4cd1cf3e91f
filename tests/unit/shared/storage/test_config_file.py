"""The configuration on the storage volume: whole, twice, never older than before."""

import errno
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
    """The path of the copy that is written first."""
    return tmp_path / "config" / "snapshot.json"


@pytest.fixture
def copy(newest):
    """The path of the other copy."""
    return newest.with_name("snapshot.copy.json")


def test_an_empty_volume_keeps_none(file):
    with capture_logs() as logs:
        assert file.newest() is None
    assert logs == []


def test_the_newest_version_is_kept_twice_and_no_other(file, tmp_path, newest, copy):
    for version in (1, 2, 3):
        file.keep(snapshot(version))
    assert file.newest() == snapshot(3)
    assert ConfigFile(tmp_path, "two").newest() == file.newest()
    assert file.newest().release
    assert set((tmp_path / "config").iterdir()) == {newest, copy}
    assert newest.read_bytes() == copy.read_bytes()


def test_a_version_gives_way_to_another_of_its_number_and_to_no_older_one(file):
    file.keep(snapshot(5))
    file.keep(snapshot(6, "CT1", "CT2"))
    file.keep(snapshot(6, "CT1"))
    file.keep(snapshot(4))
    assert file.newest() == snapshot(6, "CT1")


def test_what_is_kept_already_is_not_written_again(file, newest):
    file.keep(snapshot(1))
    written = newest.stat().st_ino
    file.keep(snapshot(1))
    assert newest.stat().st_ino == written


@pytest.mark.parametrize("left", [0, 100, -2])
@pytest.mark.parametrize("name", ["snapshot.json", "snapshot.copy.json"])
def test_a_copy_that_is_half_written_counts_for_nothing_and_the_log_says_so(
    file, newest, name, left
):
    file.keep(snapshot(1))
    file.keep(snapshot(2))
    damaged = newest.with_name(name)
    damaged.write_bytes(damaged.read_bytes()[:left])
    with capture_logs() as logs:
        assert file.newest() == snapshot(2)
        assert file.newest() == snapshot(2)
    [line] = logs
    assert line["event"] == "config.snapshot_unreadable"
    assert line["file"] == name
    file.keep(snapshot(1))
    assert file.newest() == snapshot(2)
    file.keep(snapshot(2))
    assert newest.read_bytes() == newest.with_name("snapshot.copy.json").read_bytes()


def test_with_both_copies_damaged_there_is_none(file, newest, copy):
    file.keep(snapshot(1))
    file.keep(snapshot(2))
    for path in (newest, copy):
        path.write_bytes(b"{}")
    with capture_logs():
        assert file.newest() is None


def test_a_writer_that_died_between_two_copies_leaves_the_newer_one(file, newest, copy):
    file.keep(snapshot(1))
    before = copy.read_bytes()
    file.keep(snapshot(2))
    copy.write_bytes(before)
    newest.with_name("snapshot.json.two.new").write_bytes(b"half")
    assert file.newest() == snapshot(2)
    file.keep(snapshot(2))
    assert newest.read_bytes() == copy.read_bytes()


def test_a_full_disk_keeps_what_it_has_and_leaves_no_half_file(tmp_path):
    with mounted(tmp_path / "disk", "size=64k") as folder:
        file = ConfigFile(folder, "one")
        file.keep(snapshot(1))
        filler = fill(folder)
        with pytest.raises(OSError) as refused:  # noqa: PT011 - the number says which
            file.keep(snapshot(2))
        assert refused.value.errno == errno.ENOSPC
        assert file.newest() == snapshot(1)
        names = {path.name for path in (folder / "config").iterdir()}
        assert names == {"snapshot.json", "snapshot.copy.json"}
        filler.unlink()
        file.keep(snapshot(2))
        assert file.newest() == snapshot(2)


def test_a_folder_that_cannot_be_made_is_told_to_who_writes_and_none_to_who_reads(tmp_path):
    (tmp_path / "config").write_text("a file")
    file = ConfigFile(tmp_path, "one")
    with capture_logs() as logs:
        assert file.newest() is None
    assert {line["reason"] for line in logs} == {"NotADirectoryError"}
    with pytest.raises(OSError, match="exists"):
        file.keep(snapshot(1))


def test_writers_side_by_side_leave_a_whole_file_of_the_newest_version(tmp_path, file):
    file.keep(snapshot(1))

    def write(name):
        file = ConfigFile(tmp_path, name)
        for version in range(2, 30):
            file.keep(snapshot(version))
            assert file.newest()

    writers = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert ConfigFile(tmp_path, "reader").newest().version == 29
