"""Ports of signing in: accounts with sessions and tokens, passwords, and failed attempts."""

from datetime import datetime
from typing import Protocol, Self

from draw_api.models.access import Account, KnownSession, KnownToken


class AccountRepository(Protocol):
    """Users, sessions and tokens."""

    def account(self, name: str) -> Account | None:
        """Return the user of this name, active or not."""

    def any_user(self) -> bool:
        """Return whether there is a user at all; no other caller can add the first meanwhile."""

    def add_user(self, name: str, role: str, password_hash: str) -> int:
        """Add a user and return the id."""

    def signed_in(self, user_id: int, password_hash: str | None) -> None:
        """Note the time of the sign-in, and a fresh hash of the same password if given."""

    def add_session(
        self,
        token_hash: bytes,
        user_id: int,
        csrf_token: str,
        expires_at: datetime,
        *,
        address: str,
    ) -> None:
        """Add a session, and forget those whose time is over."""

    def session(self, token_hash: bytes) -> KnownSession | None:
        """Return the session if its time is not over and its user is active."""

    def end_session(self, token_hash: bytes) -> None:
        """Forget the session."""

    def token(self, token_hash: bytes) -> KnownToken | None:
        """Return the token if it is valid and its user is active, and note its use."""


class Passwords(Protocol):
    """Hashes and checks passwords, slowly on purpose."""

    def hash(self, password: str) -> str:
        """Return what is kept of the password."""

    def matches(self, password_hash: str, password: str) -> bool:
        """Return whether this is the password; an empty hash takes as long and is False."""

    def outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made with weaker parameters than today's."""


class SignInAttempts(Protocol):
    """Counts attempts to prove a password."""

    def begin(self, name: str, address: str) -> "SignInAttempt":
        """Return an attempt that counts as failed until it has succeeded.

        Raises:
            TooManyAttempts: with those that failed or are under way there are too many.
        """


class SignInAttempt(Protocol):
    """One attempt under way, for `with`; without `succeeded` or an exception it was a failure."""

    def succeeded(self) -> None:
        """Forget this name's failures from this address."""

    def __enter__(self) -> Self: ...

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Take note that it is over."""
