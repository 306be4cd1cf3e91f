"""Which password signs the first user in is said truly, whatever the environment holds."""

import pytest

from draw_api.adapters.access_queries import PostgresAccountRepository
from draw_api.adapters.passwords import Argon2Passwords
from tools.first_user import FORGOTTEN, PasswordRefused, create_first, sign_in_words
from tools.home import Home

pytestmark = pytest.mark.integration

GIVEN = "given by an operator"


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.release()


@pytest.fixture
def set_password(database):
    """Give the first user a password, as the services do at the first start."""

    def set_to(password, name="admin"):
        with database.session() as session:
            accounts = PostgresAccountRepository(session)
            accounts.add_user(name, "admin", Argon2Passwords().hash(password))
            session.commit()

    return set_to


def test_at_the_first_start_a_password_is_made_and_found(home, database_url):
    create_first(home, {}, database_url)
    assert sign_in_words(home, {}, database_url) == f"user admin, password in {home.password_file}"


def test_a_given_password_is_left_where_it_is_and_never_said(home, database_url):
    given = {"DRAW_ADMIN_PASSWORD": GIVEN}
    create_first(home, given, database_url)
    words = sign_in_words(home, given, database_url)
    assert words == "user admin, password in DRAW_ADMIN_PASSWORD"
    assert not home.password_file.exists()


def test_a_second_start_changes_no_password_and_makes_none_that_does_not_work(home, database_url):
    create_first(home, {"DRAW_ADMIN_PASSWORD": GIVEN}, database_url)
    create_first(home, {"DRAW_ADMIN_PASSWORD": "quite another one"}, database_url)
    create_first(home, {}, database_url)
    assert not home.password_file.exists()
    assert FORGOTTEN in sign_in_words(home, {}, database_url)
    words = sign_in_words(home, {"DRAW_ADMIN_PASSWORD": GIVEN}, database_url)
    assert words == "user admin, password in DRAW_ADMIN_PASSWORD"


def test_a_variable_that_came_later_is_told_apart_from_the_password_that_works(
    home, database_url, set_password, tmp_path
):
    home.make_password()
    set_password(home.password_file.read_text().strip())
    file = tmp_path / "password"
    file.write_text("quite another password\n")
    for given in ({"DRAW_ADMIN_PASSWORD": GIVEN}, {"DRAW_ADMIN_PASSWORD_FILE": str(file)}):
        words = sign_in_words(home, given, database_url)
        assert words.startswith(f"user admin, password in {home.password_file} (")
        assert next(iter(given)) in words
        assert GIVEN not in words


def test_a_file_that_was_given_is_named(home, database_url, set_password, tmp_path):
    file = tmp_path / "password"
    file.write_text(f"{GIVEN}\n")
    set_password(GIVEN)
    given = {"DRAW_ADMIN_PASSWORD_FILE": str(file), "DRAW_ADMIN_PASSWORD": "ignored beside it"}
    assert sign_in_words(home, given, database_url) == f"user admin, password in {file}"


def test_without_the_first_user_nobody_is_named(home, database_url, set_password):
    set_password(GIVEN, name="eve")
    assert "without admin" in sign_in_words(home, {}, database_url)


@pytest.mark.parametrize("password", ["tiny", "x" * 201])
def test_a_password_that_rest_would_refuse_is_refused(home, database_url, password):
    with pytest.raises(PasswordRefused, match="DRAW_ADMIN_PASSWORD: the password must have") as why:
        create_first(home, {"DRAW_ADMIN_PASSWORD": password}, database_url)
    assert "without admin" in sign_in_words(home, {}, database_url)
    assert password not in str(why.value)
