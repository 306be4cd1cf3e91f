"""`draw-admin` in this process against a real PostgreSQL, without a broker.

Not covered: reindex and repair, which need indexers (tests/e2e/test_storage_care.py).
"""

import io
from uuid import uuid4

import pytest
from sqlalchemy import text

from draw_api import admin
from draw_api.adapters.passwords import Argon2Passwords
from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.db.migrate import upgrade
from draw_shared.db.revisions import head_revision
from draw_shared.storage.layout import Layout
from support import datasets, service_finder
from support.indexed import IndexedStorage
from support.next_release import EXPAND, LaterRelease
from support.suite import rows

pytestmark = pytest.mark.integration

PASSWORD = "a long enough password"


@pytest.fixture
def draw_admin(database_url, tmp_path, monkeypatch):
    """Return what runs the command and returns its exit code."""
    monkeypatch.setattr(admin.logging, "configure", lambda *_, **__: None)
    monkeypatch.setenv("DRAW_DATABASE_URL", database_url)
    monkeypatch.setenv("DRAW_BROKER_URL", "amqp://guest:guest@127.0.0.1:1/none")
    monkeypatch.setenv("DRAW_STORAGE_ROOT", str(tmp_path))

    def run(*words, stdin=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        return admin.main(words)

    return run


def test_a_new_database_gets_schema_and_first_configuration(draw_admin, postgres_url, monkeypatch):
    name = f"draw_test_{uuid4().hex[:12]}"
    service_finder.administer(postgres_url, f'CREATE DATABASE "{name}"')
    url = service_finder.named(postgres_url, name)
    monkeypatch.setenv("DRAW_DATABASE_URL", url)
    monkeypatch.setenv("DRAW_SCP_AE_TITLE", "OTHER")
    monkeypatch.delenv("DRAW_STORAGE_ROOT")
    monkeypatch.delenv("DRAW_BROKER_URL")
    try:
        assert draw_admin("migrate") == 0
        assert draw_admin("migrate", "--everything") == 0
        (found,) = rows(url, "SELECT version, document FROM server_config")
    finally:
        service_finder.administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')
    assert found["version"] == 1
    assert found["document"]["network"]["ae_title"] == "OTHER"
    assert found["document"]["services"]["c_find"] is False


def test_migrating_with_an_older_release_is_one_sentence(
    draw_admin, database_url, tmp_path, capsys
):
    later = LaterRelease(tmp_path)
    later.add(EXPAND, compatible_from=head_revision())
    upgrade(database_url, scripts=later.scripts)
    assert draw_admin("migrate") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"schema {later.head} is a later release's") and said.count("\n") == 1
    later.add("pass", kind="contract", compatible_from=later.head)
    upgrade(database_url, scripts=later.scripts)
    assert draw_admin("migrate") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"draw-admin: the schema is {later.head}") and said.count("\n") == 1


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_it_may_begin_with_everything(draw_admin, database_url, monkeypatch, way):
    if way == "environment":
        monkeypatch.setenv("DRAW_SCP_EVERYTHING", "true")
    assert draw_admin("migrate", *(["--everything"] if way == "flag" else [])) == 0
    (found,) = rows(database_url, "SELECT document FROM server_config")
    assert found["document"]["services"]["c_find"] is True


def test_a_user_is_added_once_and_only_with_a_good_password(draw_admin, database_url, capsys):
    words = ("create-user", "eve", "--role", "operator", "--password-file", "-")
    assert draw_admin(*words, stdin=f"{PASSWORD}\n") == 0
    assert draw_admin(*words, stdin=PASSWORD) == 1
    assert "already a user" in capsys.readouterr().err
    assert draw_admin("create-user", "bob", "--password-file", "-", stdin="tiny") == 1
    shown = capsys.readouterr()
    assert "password" in shown.err and "tiny" not in shown.err + shown.out
    assert rows(database_url, "SELECT name, role FROM users") == [
        {"name": "eve", "role": "operator"}
    ]
    (line,) = rows(database_url, "SELECT actor, action FROM transactions")
    assert line["actor"].startswith("draw-admin (uid ") and line["action"] == "user.create"


def test_who_forgot_a_password_is_given_another(draw_admin, database_url, capsys):
    draw_admin("create-user", "eve", "--password-file", "-", stdin=PASSWORD)
    (before,) = rows(database_url, "SELECT password_hash FROM users")
    words = ("set-password", "eve", "--password-file", "-")
    assert draw_admin(*words, stdin="tiny") == 1
    assert rows(database_url, "SELECT password_hash FROM users") == [before]
    assert draw_admin(*words, stdin="another long password") == 0
    (after,) = rows(database_url, "SELECT password_hash FROM users")
    passwords = Argon2Passwords()
    assert passwords.matches(after["password_hash"], "another long password")
    assert not passwords.matches(after["password_hash"], PASSWORD)
    capsys.readouterr()
    assert draw_admin("set-password", "bob", "--password-file", "-", stdin=PASSWORD) == 1
    assert "no such user" in capsys.readouterr().err
    lines = rows(database_url, "SELECT action FROM transactions ORDER BY id")
    assert [line["action"] for line in lines] == ["user.create", "user.password_reset"]


def test_a_password_may_be_in_a_file(draw_admin, tmp_path, database_url):
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    assert draw_admin("create-user", "eve", "--password-file", str(tmp_path / "password")) == 0
    assert draw_admin("create-user", "bob", "--password-file", str(tmp_path / "none")) == 1
    assert len(rows(database_url, "SELECT FROM users")) == 1


def test_the_statement_follows_the_configuration(draw_admin, database, database_url, capsys):
    assert draw_admin("conformance") == 1
    assert "draw-admin migrate" in capsys.readouterr().err
    assert draw_admin("migrate", "--everything") == 0
    capsys.readouterr()
    assert draw_admin("conformance") == 0
    everything = capsys.readouterr().out
    assert draw_admin("conformance", "--everything") == 0
    assert capsys.readouterr().out == everything
    rows_changed = (
        "UPDATE server_config SET document = jsonb_set(document, '{services,c_get}', 'false')"
        " RETURNING version"
    )
    with database.session() as session:
        session.connection().execute(text(rows_changed))
        session.commit()
    assert draw_admin("conformance") == 0
    changed = capsys.readouterr().out
    assert "| Retrieve by C-GET | yes | no |" in changed
    assert "| Retrieve by C-GET | yes | yes |" in everything


def test_the_log_is_verified(draw_admin, capsys):
    assert draw_admin("verify-transactions") == 0
    assert '"intact": true' in capsys.readouterr().out
    head = ("--position", "5", "--hash", "0" * 64)
    assert draw_admin("verify-transactions", *head) == 1


def test_differences_are_shown_and_nothing_is_changed(draw_admin, tmp_path, database, capsys):
    archive = IndexedStorage(tmp_path, database)
    try:
        archive.receive(*datasets.series(3))
        assert draw_admin("reconcile") == 0
        path = min(archive.files())
        (tmp_path / path).rename(tmp_path / "objects" / "elsewhere.dcm")
        capsys.readouterr()
        assert draw_admin("reconcile", "--new-seconds", "0") == 1
        shown = capsys.readouterr().out
        assert "row without file" in shown and path in shown
        assert "file without row: objects/elsewhere.dcm" in shown
        assert draw_admin("reconcile") == 1
        assert "(1 more are new)" in capsys.readouterr().out
        assert archive.scalars("SELECT count(*) FROM instances") == [3]
    finally:
        archive.close()


def test_an_empty_volume_is_taken_for_one_that_is_not_mounted_until_somebody_knows_better(
    draw_admin, tmp_path, database, capsys
):
    archive = IndexedStorage(tmp_path, database)
    try:
        archive.receive(*datasets.series(3))
        for path in archive.files():
            (tmp_path / path).unlink()
        assert draw_admin("reconcile", "--repair") == 1
        assert "has no object, and the index has 3: is it mounted" in capsys.readouterr().err
        assert archive.scalars("SELECT count(*) FROM instances") == [3]
        assert draw_admin("reconcile", "--repair", "--empty-volume") == 0
        assert archive.scalars("SELECT count(*) FROM instances") == [0]
    finally:
        archive.close()


def test_reconcile_shows_a_copy_whose_row_is_lost(tmp_path, draw_admin, database, capsys):
    archive = IndexedStorage(tmp_path, database)
    layout = Layout(StorageStructure.FLAT, FileNaming.SEQUENTIAL)
    made = datasets.build()
    try:
        archive.receive(made, layout=layout)
        archive.restart()
        (copy,) = archive.receive(made, layout=layout)
        (tmp_path / min(archive.files() - {copy.path})).unlink()
        archive.execute("DELETE FROM patients")
        capsys.readouterr()
        assert draw_admin("reconcile", "--new-seconds", "0") == 1
        assert f"file without row: {copy.path}" in capsys.readouterr().out
    finally:
        archive.close()


def test_wrong_words_are_told(draw_admin, capsys):
    with pytest.raises(SystemExit) as ended:
        draw_admin("explode")
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_without_a_terminal_it_says_how_to_give_the_password(draw_admin, database_url, capsys):
    assert draw_admin("create-user", "eve") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--password-file" in said
    assert not rows(database_url, "SELECT FROM users")


def test_without_a_database_it_says_where_to_look(draw_admin, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DRAW_DATABASE_URL", "postgresql://draw:hidden@127.0.0.1:1/draw")
    password = tmp_path / "password"
    password.write_text("correct horse battery")
    assert draw_admin("create-user", "eve", "--password-file", str(password)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "DRAW_DATABASE_URL" in said
    assert "port 1" in said
    assert "hidden" not in said


@pytest.mark.parametrize(
    "words",
    [
        ("create-user", "two words", "--password-file", "-"),
        ("create-user", "eve", "--password-file", "/nowhere"),
        ("verify-transactions", "--position", "0", "--hash", "x"),
        ("verify-transactions", "--position", "1"),
    ],
)
def test_bad_input_is_one_line_of_words(draw_admin, capsys, words):
    assert draw_admin(*words, stdin=PASSWORD) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not any(sign in said for sign in ("^", "Traceback", "Input should", "String should"))


@pytest.mark.parametrize("database", ["nowhere", "empty"])
def test_no_database_or_no_schema_is_one_line_of_words(
    draw_admin, postgres_url, monkeypatch, capsys, database
):
    name = f"draw_test_{uuid4().hex[:12]}"
    service_finder.administer(postgres_url, f'CREATE DATABASE "{name}"')
    try:
        url = service_finder.named(postgres_url, name)
        nowhere = "postgresql://nobody@127.0.0.1:1/none"
        monkeypatch.setenv("DRAW_DATABASE_URL", nowhere if database == "nowhere" else url)
        for words in (("create-user", "eve", "--password-file", "-"), ("verify-transactions",),
                      ("conformance",)):  # fmt: skip
            assert draw_admin(*words, stdin=PASSWORD) == 1
            said = capsys.readouterr().err
            assert said.startswith("draw-admin: ")
            assert said.count("\n") == 1
            assert database == "nowhere" or "draw-admin migrate" in said
    finally:
        service_finder.administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')
