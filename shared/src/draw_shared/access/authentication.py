"""Tells who a caller is, from the token of a session or a bearer token."""

import hashlib
import secrets
from typing import Final, Protocol

from draw_shared.access.permissions import RULES, Permission, may
from draw_shared.access.principals import KnownSession, KnownToken, Principal
from draw_shared.contracts.failures import Forbidden, OldToken, Unauthenticated
from draw_shared.wording import message

MAX_TOKEN_LENGTH: Final = 128


class CredentialRepository(Protocol):
    """Sessions and bearer tokens."""

    def session(self, token_hash: bytes) -> KnownSession | None:
        """Return the session if it has not expired and its user is active."""

    def token(self, token_hash: bytes) -> KnownToken | None:
        """Return the token if it is valid and its user is active, and record its use."""


class Authentication:
    """Authenticates people and programs by what they were given when they signed in."""

    def __init__(self, credentials: CredentialRepository) -> None:
        self._credentials = credentials

    def by_session(self, token: str, address: str) -> Principal:
        """Return the principal of a browser session.

        Raises:
            Unauthenticated: the session does not exist or has expired.
        """
        found = (
            self._credentials.session(token_hash(token)) if len(token) <= MAX_TOKEN_LENGTH else None
        )
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
        found = (
            self._credentials.token(token_hash(token)) if len(token) <= MAX_TOKEN_LENGTH else None
        )
        if found is None:
            raise Unauthenticated(message("This token is not known, was revoked or has expired."))
        weaker = found.token_role if found.user_role.allows(found.token_role) else found.user_role
        return Principal(
            found.user_id, found.user_name, weaker, address, token_name=found.token_name
        )


def token_hash(token: str) -> bytes:
    """Return the stored hash of a token; a fast hash suffices for 256 random bits."""
    return hashlib.sha256(token.encode()).digest()


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
