"""Signs users in and authenticates their requests.

Passwords are stored as argon2id hashes, session and bearer tokens as SHA-256 hashes, so reading the
database gives no credentials. A wrong name and a wrong password take the same time and give the
same answer.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from draw_api.models.access import Account, KnownSession, Principal, Role
from draw_api.models.failures import Forbidden, OldToken, Unauthenticated
from draw_api.models.languages import LanguageChoice
from draw_api.models.permissions import RULES, Permission, may
from draw_api.ports.access import AccountRepository, Passwords, SignInAttempts
from draw_api.ports.audit import AuditTrail
from draw_shared.contracts.transaction import TransactionOutcome
from draw_shared.wording import message

TOKEN_PREFIX: Final = "draw_"  # noqa: S105 - how a token begins, so that secret scanners know it
TOKEN_BYTES: Final = 32
MAX_TOKEN_LENGTH: Final = 128
ADMINISTRATOR: Final = "admin"

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A new session; the token goes into the cookie and nowhere else."""

    token: str
    session: KnownSession


def token_hash(token: str) -> bytes:
    """Return the stored hash of a token; a fast hash suffices for 256 random bits."""
    return hashlib.sha256(token.encode()).digest()


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

    def by_session(self, token: str, address: str) -> Principal:
        """Return the principal of a browser session.

        Raises:
            Unauthenticated: the session does not exist or has expired.
        """
        found = self._store.session(token_hash(token)) if len(token) <= MAX_TOKEN_LENGTH else None
        if found is None:
            raise Unauthenticated(message("The session has ended; sign in again."))
        return Principal(
            found.user_id,
            found.name,
            found.role,
            address,
            csrf_token=found.csrf_token,
            language=found.language,
        )

    def by_token(self, token: str, address: str) -> Principal:
        """Return the principal of a token; it may do what both the token and its user may.

        Raises:
            Unauthenticated: the token is unknown, revoked or expired.
        """
        found = self._store.token(token_hash(token)) if len(token) <= MAX_TOKEN_LENGTH else None
        if found is None:
            raise Unauthenticated(message("This token is not known, was revoked or has expired."))
        weaker = found.token_role if found.user_role.allows(found.token_role) else found.user_role
        return Principal(
            found.user_id, found.user_name, weaker, address, token_name=found.token_name
        )

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


def require(principal: Principal, permission: Permission) -> None:
    """Return if the principal has the permission.

    Raises:
        Forbidden: the role is too low, or a program asks for what only a person may do.
    """
    if may(principal, permission):
        return
    needed = RULES[permission].role
    if needed is not None and not principal.role.allows(needed):
        raise Forbidden(
            message(
                "This needs the role %(needed)s; yours is %(role)s.",
                needed=needed,
                role=principal.role,
            )
        )
    raise Forbidden(message("This needs a signed-in person, not a token."))


def require_csrf(principal: Principal, sent: str | None) -> None:
    """Return if the request carries the session's CSRF token, or came with a bearer token.

    Raises:
        OldToken: another site may have made the browser send it.
    """
    if principal.csrf_token is None:
        return
    if sent is None or not secrets.compare_digest(sent.encode(), principal.csrf_token.encode()):
        raise OldToken(
            message(
                "The X-CSRF-Token header, or the token of the form, is missing or not "
                "that of this session. Nothing was changed; load the page again, and "
                "repeat it."
            )
        )
