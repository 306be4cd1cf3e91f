"""Users, sessions and tokens in PostgreSQL."""

from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.access import Account
from draw_api.ports.access import AccountRepository
from draw_shared.access.principals import Role

FIRST_USER_LOCK: Final = 0x44524155
"""Key of the advisory lock that serializes creating the first administrator."""

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
SET_LANGUAGE: Final = text("UPDATE users SET language = :language WHERE id = :user_id")
END_SESSION: Final = text("DELETE FROM web_sessions WHERE token_hash = :token_hash")


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
    def set_language(self, user_id: int, language: str) -> None:
        self._connection.execute(SET_LANGUAGE, {"user_id": user_id, "language": language})

    @override
    def end_session(self, token_hash: bytes) -> None:
        self._connection.execute(END_SESSION, {"token_hash": token_hash})
