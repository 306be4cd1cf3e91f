"""Users, sessions and tokens in PostgreSQL."""

from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.access import Account, KnownSession, KnownToken, Role
from draw_api.ports.access import AccountRepository

FIRST_USER_LOCK: Final = 0x44524155
"""Key of the advisory lock that serializes creating the first administrator."""

TOKEN_USE_INTERVAL_SECONDS: Final = 60

ACCOUNT: Final = text("SELECT id, name, role, password_hash, active FROM users WHERE name = :name")
ADD_USER: Final = text(
    "INSERT INTO users (name, role, password_hash) VALUES (:name, :role, :password_hash)"
    " RETURNING id"
)
SIGNED_IN: Final = text(
    "UPDATE users SET last_login_at = now(),"
    " password_hash = coalesce(:password_hash, password_hash) WHERE id = :user_id"
)
FORGET_ENDED_SESSIONS: Final = text("DELETE FROM web_sessions WHERE expires_at < now()")
ADD_SESSION: Final = text(
    "INSERT INTO web_sessions (token_hash, user_id, csrf_token, expires_at, address)"
    " VALUES (:token_hash, :user_id, :csrf_token, :expires_at, :address)"
)
SESSION: Final = text(
    """
    SELECT s.user_id, u.name, u.role, s.csrf_token, s.expires_at, u.language
    FROM web_sessions s JOIN users u ON u.id = s.user_id
    WHERE s.token_hash = :token_hash AND s.expires_at > now() AND u.active
    """
)
SET_LANGUAGE: Final = text("UPDATE users SET language = :language WHERE id = :user_id")
END_SESSION: Final = text("DELETE FROM web_sessions WHERE token_hash = :token_hash")
TOKEN: Final = text(
    """
    SELECT t.id, t.user_id, u.name AS user_name, u.role AS user_role, t.name AS token_name,
        t.role AS token_role, coalesce(t.last_used_at
            < now() - make_interval(secs => :noted_every), true) AS note_use
    FROM api_tokens t JOIN users u ON u.id = t.user_id
    WHERE t.token_hash = :token_hash AND t.active AND u.active
        AND (t.expires_at IS NULL OR t.expires_at > now())
    """
)
TOKEN_USED: Final = text("UPDATE api_tokens SET last_used_at = now() WHERE id = :id")


class PostgresAccountRepository(AccountRepository):
    """Users, sessions and tokens, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def account(self, name: str) -> Account | None:
        row = self._connection.execute(ACCOUNT, {"name": name}).first()
        if row is None:
            return None
        return Account(row.id, row.name, Role(row.role), row.password_hash, row.active)

    @override
    def any_user(self) -> bool:
        self._connection.execute(
            text("SELECT pg_advisory_xact_lock(:key)"), {"key": FIRST_USER_LOCK}
        )
        return bool(self._connection.execute(text("SELECT EXISTS (SELECT FROM users)")).scalar())

    @override
    def add_user(self, name: str, role: str, password_hash: str) -> int:
        added = self._connection.execute(
            ADD_USER, {"name": name, "role": str(role), "password_hash": password_hash}
        )
        return int(added.scalar_one())

    @override
    def record_sign_in(self, user_id: int, password_hash: str | None) -> None:
        self._connection.execute(SIGNED_IN, {"user_id": user_id, "password_hash": password_hash})

    @override
    def add_session(
        self,
        token_hash: bytes,
        user_id: int,
        csrf_token: str,
        expires_at: datetime,
        *,
        address: str,
    ) -> None:
        self._connection.execute(FORGET_ENDED_SESSIONS)
        self._connection.execute(
            ADD_SESSION,
            {
                "token_hash": token_hash,
                "user_id": user_id,
                "csrf_token": csrf_token,
                "expires_at": expires_at,
                "address": address,
            },
        )

    @override
    def session(self, token_hash: bytes) -> KnownSession | None:
        row = self._connection.execute(SESSION, {"token_hash": token_hash}).first()
        if row is None:
            return None
        return KnownSession(
            row.user_id,
            row.name,
            Role(row.role),
            row.csrf_token,
            row.expires_at,
            row.language,
        )

    @override
    def set_language(self, user_id: int, language: str) -> None:
        self._connection.execute(SET_LANGUAGE, {"user_id": user_id, "language": language})

    @override
    def end_session(self, token_hash: bytes) -> None:
        self._connection.execute(END_SESSION, {"token_hash": token_hash})

    @override
    def token(self, token_hash: bytes) -> KnownToken | None:
        row = self._connection.execute(
            TOKEN, {"token_hash": token_hash, "noted_every": TOKEN_USE_INTERVAL_SECONDS}
        ).first()
        if row is None:
            return None
        if row.note_use:
            self._connection.execute(TOKEN_USED, {"id": row.id})
        return KnownToken(
            row.user_id, row.user_name, Role(row.user_role), row.token_name, Role(row.token_role)
        )
