"""One launcher at a time works in a home; the admin password is made once."""

import stat

import pytest

from tools.home import Home, HomeInUse


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
    setting, found = home.admin_password({})
    path = home.folder / "admin-password"
    assert setting == {"DRAW_ADMIN_PASSWORD_FILE": str(path)}
    assert found == f"in {path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_text()
    assert len(made.strip()) >= 16
    home.admin_password({})
    assert path.read_text() == made


@pytest.mark.parametrize("variable", ["DRAW_ADMIN_PASSWORD", "DRAW_ADMIN_PASSWORD_FILE"])
def test_a_given_password_is_left_where_it_is_and_never_said(home, variable):
    setting, found = home.admin_password({variable: "given"})
    assert setting == {}
    assert variable.removesuffix("_FILE") == "DRAW_ADMIN_PASSWORD"
    assert ("given" in found) == variable.endswith("_FILE")
    assert not (home.folder / "admin-password").exists()
