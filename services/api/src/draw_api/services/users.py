"""Manages users, their sessions and their tokens.

There is always an active administrator: the rows of administrators are locked before one is
removed, demoted or deactivated, so two administrators who remove each other cannot both succeed.
"""

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final

from draw_api.models.access import Account
from draw_api.models.paging import Page
from draw_api.models.users import (
    NewToken,
    NewUser,
    PasswordChange,
    Session,
    Token,
    TokenMade,
    User,
    UserSettings,
)
from draw_api.ports.access import Passwords, SignInAttempts
from draw_api.ports.users import UserRepository
from draw_api.services.access import TOKEN_BYTES, TOKEN_PREFIX
from draw_shared.access.audit import AuditTrail
from draw_shared.access.authentication import require, token_hash
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal, Role
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.wording import message

NO_USER: Final = message("There is no such user.")
LAST_ADMINISTRATOR: Final = message("This is the last active administrator.")


class UserService:
    """Manages users for administrators, and users' own sessions and tokens."""

    def __init__(
        self,
        table: UserRepository,
        passwords: Passwords,
        attempts: SignInAttempts,
        audit: AuditTrail,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._table = table
        self._passwords = passwords
        self._attempts = attempts
        self._audit = audit
        self._clock = clock

    def users(self, cursor: str | None, limit: int) -> Page[User]:
        """Return a page of the users."""
        return self._table.users(cursor, limit)

    def user(self, user_id: int) -> User:
        """Return one user; NotFound when there is none."""
        found = self._table.user(user_id)
        if found is None:
            raise NotFound(NO_USER)
        return found

    def by_name(self, name: str) -> Account:
        """Return the user of this name; NotFound when there is none."""
        found = self._table.account(name)
        if found is None:
            raise NotFound(NO_USER)
        return found

    def add(self, by: Principal, new: NewUser) -> User:
        """Add a user.

        Raises:
            Conflict: the name is taken.
        """
        hashed = self._passwords.hash(new.password.get_secret_value()) if new.password else ""
        user_id = self._table.add(new.name, new.role, hashed)
        if user_id is None:
            raise Conflict(message("There is already a user called %(name)s.", name=new.name))
        self._audit.record(by, "user.create", f"{new.name} {new.role}")
        return self.user(user_id)

    def set(self, by: Principal, user_id: int, settings: UserSettings) -> User:
        """Set the role and whether the user may sign in; both apply from the next request on.

        Raises:
            NotFound: there is no such user.
            Conflict: this is the last active administrator.
        """
        user = self.user(user_id)
        if settings.role is not Role.ADMIN or not settings.active:
            self._require_another_administrator(user)
        self._table.set(user_id, settings.role, active=settings.active)
        if not settings.active:
            self._table.end_sessions(user_id, None)
        state = "active" if settings.active else "inactive"
        self._audit.record(by, "user.update", f"{user.name} {settings.role} {state}")
        return self.user(user_id)

    def remove(self, by: Principal, user_id: int) -> None:
        """Delete a user with all sessions and tokens.

        Raises:
            NotFound: there is no such user.
            Conflict: this is the last active administrator.
        """
        user = self.user(user_id)
        self._require_another_administrator(user)
        self._table.remove(user_id)
        self._audit.record(by, "user.delete", user.name)

    def reset_password(self, by: Principal, user_id: int, password: str) -> None:
        """Set a user's new password, end all sessions and revoke all tokens of the user.

        A thief of the old password may have made tokens with it. NotFound: there is no such user.
        """
        user = self.user(user_id)
        self._table.set_password(user_id, self._passwords.hash(password))
        self._table.end_sessions(user_id, by.csrf_token if user_id == by.user_id else None)
        revoked = self._table.revoke_tokens(user_id)
        self._audit.record(
            by,
            "user.password_reset",
            message("%(user)s tokens revoked %(revoked)s", user=user.name, revoked=revoked),
        )

    def change_password(self, by: Principal, change: PasswordChange) -> Invalid | None:
        """Change the caller's own password and end the caller's other sessions.

        Return the reason when nothing was changed because the current password is wrong, which is
        recorded.

        Raises:
            TooManyAttempts: the current password was wrong too often lately.
        """
        with self._attempts.begin(by.name, by.address) as attempt:
            account = self._table.account(by.name)
            kept = account.password_hash if account else ""
            if not self._passwords.matches(kept, change.current_password.get_secret_value()):
                self._audit.record_failure(
                    by, "user.password_change", message("wrong current password")
                )
                return Invalid(
                    [FieldProblem("current_password", message("this is not the current password"))]
                )
            attempt.succeed()
        self._table.set_password(
            by.user_id, self._passwords.hash(change.new_password.get_secret_value())
        )
        self._table.end_sessions(by.user_id, by.csrf_token)
        self._audit.record(by, "user.password_change", by.name)
        return None

    def sessions(
        self, by: Principal, cursor: str | None, limit: int, *, all_users: bool
    ) -> Page[Session]:
        """Return a page of the caller's own sessions, or of everybody's; Forbidden."""
        owner = _owner(by, all_users=all_users)
        return self._table.sessions(owner, by.csrf_token, cursor, limit)

    def end_session(self, by: Principal, session_id: str) -> None:
        """End a session; NotFound when it does not exist, or the caller may not end it."""
        owner = self._table.session_owner(session_id)
        if owner is None or not _may_end(by, owner):
            raise NotFound(message("There is no such session."))
        self._table.end_session(session_id)
        self._audit.record(by, "session.end", f"session {session_id}")

    def tokens(
        self, by: Principal, cursor: str | None, limit: int, *, all_users: bool
    ) -> Page[Token]:
        """Return a page of the caller's own tokens, or of everybody's; Forbidden."""
        return self._table.tokens(_owner(by, all_users=all_users), cursor, limit)

    def make_token(self, by: Principal, new: NewToken) -> TokenMade:
        """Create a token and return it, only this once.

        Raises:
            Invalid: the role is above the caller's, or the token would already have expired.
        """
        if not by.role.allows(new.role):
            raise Invalid(
                [
                    FieldProblem(
                        "role", message("must not be above your own, %(role)s", role=by.role)
                    )
                ]
            )
        if new.expires_at is not None and new.expires_at <= self._clock():
            raise Invalid([FieldProblem("expires_at", message("must be in the future"))])
        token = f"{TOKEN_PREFIX}{secrets.token_urlsafe(TOKEN_BYTES)}"
        token_id = self._table.add_token(by.user_id, new, token_hash(token))
        self._audit.record(by, "token.create", f"{new.name} {new.role}")
        made = self._table.token(token_id)
        if made is None:
            raise NotFound(message("The token is gone."))
        return TokenMade(token=token, **made.model_dump())

    def revoke_token(self, by: Principal, token_id: int) -> None:
        """Revoke a token; NotFound when it does not exist, or the caller may not revoke it."""
        found = self._table.token(token_id)
        if found is None or not _may_end(by, found.user_id):
            raise NotFound(message("There is no such token."))
        self._table.revoke_token(token_id)
        self._audit.record(by, "token.revoke", f"{found.name} of {found.user_name}")

    def _require_another_administrator(self, user: User) -> None:
        is_administrator = user.role is Role.ADMIN and user.active
        if not self._table.other_administrators(user.id) and is_administrator:
            raise Conflict(LAST_ADMINISTRATOR)


def _owner(by: Principal, *, all_users: bool) -> int | None:
    if all_users:
        require(by, Permission.READ_ALL_CREDENTIALS)
    return None if all_users else by.user_id


def _may_end(by: Principal, owner: int) -> bool:
    return owner == by.user_id or may(by, Permission.END_ALL_CREDENTIALS)
