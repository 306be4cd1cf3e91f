"""Signs users in and authenticates their requests.

Passwords are stored as argon2id hashes, session and bearer tokens as SHA-256 hashes, so reading the
database gives no credentials. A wrong name and a wrong password take the same time and give the
same answer.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from draw_api.models.access import Account
from draw_api.models.languages import LanguageChoice
from draw_api.ports.access import AccountRepository, Passwords, SignInAttempts
from draw_shared.access.audit import AuditTrail
from draw_shared.access.authentication import token_hash
from draw_shared.access.principals import KnownSession, Principal, Role
from draw_shared.contracts.transaction import TransactionOutcome

TOKEN_PREFIX: Final = "draw_"  # noqa: S105 - how a token begins, so that secret scanners know it
TOKEN_BYTES: Final = 32
ADMINISTRATOR: Final = "admin"

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A new session; the token goes into the cookie and nowhere else."""

    token: str
    session: KnownSession


def ensure_administrator(store: AccountRepository, passwords: Passwords, password: str) -> bool:
    """Create the user `admin` with this password and return True, unless there is a user."""
    if store.any_user():
        return False
    store.add_user(ADMINISTRATOR, Role.ADMIN, passwords.hash(password))
    return True


class AccessService:
    """Authenticates people and programs."""

    def __init__(
        self,
        store: AccountRepository,
        passwords: Passwords,
        attempts: SignInAttempts,
        audit: AuditTrail,
        *,
        clock: Clock,
        session_length: timedelta,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._attempts = attempts
        self._audit = audit
        self._clock = clock
        self._session_length = session_length

    def sign_in(self, name: str, password: str, address: str) -> StartedSession | None:
        """Return a new session, or None for a wrong name or password; record both.

        Raises:
            TooManyAttempts: this name or address has failed too often lately.
        """
        with self._attempts.begin(name, address) as attempt:
            account = self._store.account(name)
            known = account is not None and account.active
            right = self._passwords.matches(
                account.password_hash if account is not None and known else "", password
            )
            if account is None or not known or not right:
                self._audit.record_anonymous(
                    account.name if account else "unknown",
                    address,
                    "session.create",
                    TransactionOutcome.FAILURE,
                )
                return None
            attempt.succeed()
        renewed = self._passwords.hash(password) if self._outdated(account) else None
        return self.start_session(account, address, renewed)

    def sign_out(self, by: Principal, token: str) -> None:
        """End the session of this token."""
        self._store.end_session(token_hash(token))
        self._audit.record(by, "session.end")

    def choose_language(self, by: Principal, choice: LanguageChoice) -> None:
        """Have the page speak a language to this user from now on."""
        self._store.set_language(by.user_id, choice.language)

    def _outdated(self, account: Account) -> bool:
        return self._passwords.outdated(account.password_hash)

    def start_session(
        self, account: Account, address: str, password_hash: str | None = None
    ) -> StartedSession:
        """Return a new session for an authenticated user."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        session = KnownSession(
            user_id=account.user_id,
            name=account.name,
            role=account.role,
            csrf_token=secrets.token_urlsafe(TOKEN_BYTES),
            expires_at=self._clock() + self._session_length,
        )
        self._store.record_sign_in(account.user_id, password_hash)
        self._store.add_session(
            token_hash(token),
            session.user_id,
            session.csrf_token,
            session.expires_at,
            address=address,
        )
        by = Principal(account.user_id, account.name, account.role, address)
        self._audit.record(by, "session.create")
        return StartedSession(token, session)
