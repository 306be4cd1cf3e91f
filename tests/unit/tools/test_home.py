"""One launcher at a time works in a home; the admin password is made once."""

import stat
from pathlib import Path

import pytest

from draw_shared.db.seals import Keyring
from tools.home import Home, HomeInUse, HomeUnusable, running, running_file


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.release()


def test_a_home_is_for_one_launcher_until_it_lets_go(home):
    with pytest.raises(HomeInUse, match="in use by process"):
        Home(home.folder)
    home.release()
    Home(home.folder).release()


def test_a_password_is_made_once_and_only_its_owner_reads_it(home):
    home.make_password()
    path = home.password_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_text()
    assert len(made.strip()) >= 16
    home.make_password()
    assert path.read_text() == made


def test_a_key_of_the_transaction_log_is_made_once_and_only_its_owner_reads_it(home):
    home.make_transaction_keys()
    path = home.transaction_keys_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_text()
    assert Keyring.read(made)
    home.make_transaction_keys()
    assert path.read_text() == made


def test_a_home_shows_its_suite_only_while_its_launcher_runs(home):
    assert running(home.folder) is None
    home.show_running({"DRAW_API_PORT": "8001"})
    assert stat.S_IMODE(running_file(home.folder).stat().st_mode) == 0o600
    assert running(home.folder) == {"DRAW_API_PORT": "8001"}
    left = running_file(home.folder).read_text()
    home.release()
    assert running(home.folder) is None
    # As a launcher leaves it that is killed.
    running_file(home.folder).write_text(left)
    assert running(home.folder) is None


@pytest.mark.parametrize("place", ["a file", "no folder"])
def test_a_home_that_cannot_be_is_one_sentence(tmp_path, place):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" if place == "a file" else Path("/proc/home")
    with pytest.raises(HomeUnusable) as refused:
        Home(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)
