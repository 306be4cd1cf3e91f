"""Port of users, sessions and tokens."""

from typing import Protocol

from draw_api.models.access import Account
from draw_api.models.paging import Page
from draw_api.models.users import NewToken, Session, Token, User


class UserRepository(Protocol):
    """Users, sessions and tokens, for their management."""

    def users(self, cursor: str | None, limit: int) -> Page[User]:
        """Return a page of users, in the order in which they were added."""

    def user(self, user_id: int) -> User | None:
        """Return one user."""

    def account(self, name: str) -> Account | None:
        """Return the user of this name with the password's hash."""

    def add(self, name: str, role: str, password_hash: str) -> int | None:
        """Add a user and return the id, or None when the name is taken."""

    def set(self, user_id: int, role: str, *, active: bool) -> None:
        """Set the role and whether the user may sign in."""

    def set_password(self, user_id: int, password_hash: str) -> None:
        """Replace the password's hash."""

    def remove(self, user_id: int) -> None:
        """Delete a user with all sessions and tokens."""

    def other_administrators(self, user_id: int) -> int:
        """Return the number of other active administrators; it cannot fall until the commit."""

    def sessions(
        self, user_id: int | None, csrf_token: str | None, cursor: str | None, limit: int
    ) -> Page[Session]:
        """Return a page of the sessions of a user or of all; the one with the token is current."""

    def session_owner(self, session_id: str) -> int | None:
        """Return the owner of this session."""

    def end_session(self, session_id: str) -> None:
        """Delete a session."""

    def end_sessions(self, user_id: int, keep: str | None) -> None:
        """Delete all sessions of a user except the one with this CSRF token."""

    def tokens(self, user_id: int | None, cursor: str | None, limit: int) -> Page[Token]:
        """Return a page of the tokens of a user or of all, in the order of creation."""

    def token(self, token_id: int) -> Token | None:
        """Return one token."""

    def add_token(self, user_id: int, token: NewToken, token_hash: bytes) -> int:
        """Add a token and return the id."""

    def revoke_token(self, token_id: int) -> None:
        """Revoke a token."""

    def revoke_tokens(self, user_id: int) -> int:
        """Revoke all tokens of a user, and return how many were valid before."""
