"""Ports of signing in: accounts with sessions and tokens, passwords, and failed attempts."""

from datetime import datetime
from typing import Protocol, Self

from draw_api.models.access import Account


class AccountRepository(Protocol):
    """Users, sessions and tokens."""

    def account(self, name: str) -> Account | None:
        """Return the user of this name, active or not."""

    def any_user(self) -> bool:
        """Return whether any user exists; until the commit nobody else can add the first one."""

    def add_user(self, name: str, role: str, password_hash: str) -> int:
        """Add a user and return the id."""

    def record_sign_in(self, user_id: int, password_hash: str | None) -> None:
        """Record the time of the sign-in, and a new hash of the same password if given."""

    def add_session(
        self,
        token_hash: bytes,
        user_id: int,
        csrf_token: str,
        expires_at: datetime,
        *,
        address: str,
    ) -> None:
        """Add a session, and delete expired ones."""

    def set_language(self, user_id: int, language: str) -> None:
        """Keep the language that a user has chosen; empty: none."""

    def end_session(self, token_hash: bytes) -> None:
        """Delete the session."""


class Passwords(Protocol):
    """Hashes and checks passwords, slowly on purpose."""

    def hash(self, password: str) -> str:
        """Return the hash of a password."""

    def matches(self, password_hash: str, password: str) -> bool:
        """Return whether the password matches; an empty hash takes as long and never matches."""

    def outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made with weaker parameters than today's."""


class SignInAttempts(Protocol):
    """Counts failed attempts to prove a password."""

    def begin(self, name: str, address: str) -> "SignInAttempt":
        """Return an attempt that counts as failed until it has succeeded.

        Raises:
            TooManyAttempts: too many attempts have failed or are under way.
        """


class SignInAttempt(Protocol):
    """One attempt, for `with`; it fails unless `succeeded` is called or an exception is raised."""

    def succeed(self) -> None:
        """Reset the failures of this name from this address."""

    def __enter__(self) -> Self: ...

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """End the attempt."""
