"""The password of the first user: given or generated, and checked by the rules of REST.

The user `admin` is created here if there is no user yet, so that no service ever sees the
password. Afterwards users change the password themselves, and the environment has no effect.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError
from sqlmodel import Session

from draw_api.adapters.access_queries import PostgresAccountRepository
from draw_api.adapters.passwords import Argon2Passwords
from draw_api.services.access import ADMINISTRATOR, ensure_administrator
from draw_shared.contracts.texts import NewPassword
from draw_shared.contracts.validation_words import words_of
from draw_shared.db.session import Database
from tools.home import Home

VARIABLE: Final = "DRAW_ADMIN_PASSWORD"
FILE_VARIABLE: Final = f"{VARIABLE}_FILE"
FORGOTTEN: Final = "make shell RUN='draw-admin set-password admin'"


class PasswordRefused(Exception):
    """The given password is not valid; the text says why."""


@dataclass(frozen=True, slots=True)
class Known:
    """A candidate for the first user's password, and where it is found."""

    password: str
    place: str
    variable: str = ""
    """The environment variable that gave the password."""


def create_first(home: Home, given: Mapping[str, str], database_url: str) -> None:
    """Create the first user, with the given or a generated password, if there is no user yet.

    Raises:
        PasswordRefused: the given password is too short or too long.
        OSError: the password file cannot be read.
    """
    for known in _given(given):
        try:
            TypeAdapter(NewPassword).validate_python(known.password)
        except ValidationError as error:
            words = words_of(error.errors()[0])
            raise PasswordRefused(f"{known.variable}: the password {words}") from None
    with _session(database_url) as session:
        accounts = PostgresAccountRepository(session)
        if accounts.any_user():
            return
        if not any(_given(given)):
            home.make_password()
        [known, *_] = (*_given(given), *_made(home))
        ensure_administrator(accounts, Argon2Passwords(), known.password)
        session.commit()


def sign_in_words(home: Home, given: Mapping[str, str], database_url: str) -> str:
    """Return a sentence that says who can sign in and where to find the password."""
    with _session(database_url) as session:
        account = PostgresAccountRepository(session).account(ADMINISTRATOR)
    if account is None or not account.active:
        return f"users as they were set up, without {ADMINISTRATOR}"
    passwords = Argon2Passwords()
    differ: list[str] = []
    for known in (*_given(given), *_made(home)):
        if passwords.matches(account.password_hash, known.password):
            return f"user {ADMINISTRATOR}, password {known.place}{_told_apart(differ)}"
        if known.variable:
            differ.append(known.variable)
    return (
        f"user {ADMINISTRATOR}, with the password that was set before{_told_apart(differ)}; "
        f"forgotten: {FORGOTTEN}"
    )


def _told_apart(variables: list[str]) -> str:
    return "".join(f" ({name} has another: it counts at the first start)" for name in variables)


def _given(given: Mapping[str, str]) -> Iterator[Known]:
    path = given.get(FILE_VARIABLE)
    if path:
        text = Path(path).read_text(encoding="utf-8").strip()
        yield Known(text, f"in {path}", FILE_VARIABLE)
    elif given.get(VARIABLE):
        yield Known(given[VARIABLE], f"in {VARIABLE}", VARIABLE)


def _made(home: Home) -> Iterator[Known]:
    if home.password_file.is_file():
        text = home.password_file.read_text(encoding="utf-8").strip()
        yield Known(text, f"in {home.password_file}")


@contextmanager
def _session(database_url: str) -> Iterator[Session]:
    database = Database(database_url, pool_size=1)
    try:
        with database.session() as session:
            yield session
    finally:
        database.dispose()
