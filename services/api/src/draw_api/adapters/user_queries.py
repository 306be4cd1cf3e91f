"""Users, sessions and tokens in PostgreSQL, for their management."""

from typing import Final

from sqlalchemy import text
from sqlmodel import Session as DatabaseSession
from typing_extensions import override

from draw_api.models.access import Account
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.models.users import NewToken, Session, Token, User
from draw_api.ports.users import UserRepository
from draw_shared.access.principals import Role

USER: Final = (
    "SELECT id, name, role, active, external_subject IS NOT NULL AS external,"
    " password_hash <> '' AS has_password, created_at, last_login_at FROM users"
)
USERS: Final = text(f"{USER} WHERE id > :after ORDER BY id LIMIT :limit")
ONE_USER: Final = text(f"{USER} WHERE id = :id")
ACCOUNT: Final = text("SELECT id, name, role, password_hash, active FROM users WHERE name = :name")
ADD: Final = text(
    "INSERT INTO users (name, role, password_hash) VALUES (:name, :role, :password_hash)"
    " ON CONFLICT (name) DO NOTHING RETURNING id"
)
SET: Final = text("UPDATE users SET role = :role, active = :active WHERE id = :id")
SET_PASSWORD: Final = text("UPDATE users SET password_hash = :password_hash WHERE id = :id")
REMOVE: Final = text("DELETE FROM users WHERE id = :id")
ADMINISTRATORS: Final = text(
    "SELECT id FROM users WHERE role = 'admin' AND active ORDER BY id FOR UPDATE"
)
# Part of the token's hash identifies the session; it does not reveal the token.
SESSION_ID: Final = "encode(substring(s.token_hash FOR 12), 'hex')"
SESSIONS: Final = text(
    f"""
    SELECT {SESSION_ID} AS id, s.user_id, u.name AS user_name, s.address, s.created_at,
        s.expires_at, coalesce(s.csrf_token = :csrf_token, false) AS current
    FROM web_sessions s JOIN users u ON u.id = s.user_id
    WHERE s.expires_at > now() AND {SESSION_ID} > :after
        AND (CAST(:user_id AS bigint) IS NULL OR s.user_id = :user_id)
    ORDER BY 1 LIMIT :limit
    """  # noqa: S608 - constants only
)
SESSION_OWNER: Final = text(f"SELECT s.user_id FROM web_sessions s WHERE {SESSION_ID} = :id")  # noqa: S608 - constants only
END_SESSION: Final = text(f"DELETE FROM web_sessions s WHERE {SESSION_ID} = :id")  # noqa: S608 - constants only
END_SESSIONS: Final = text(
    "DELETE FROM web_sessions WHERE user_id = :id"
    " AND csrf_token IS DISTINCT FROM CAST(:keep AS text)"
)
BEARERS: Final = (
    "SELECT t.id, t.name, t.role, t.user_id, u.name AS user_name, t.active, t.created_at,"
    " t.expires_at, t.last_used_at FROM api_tokens t JOIN users u ON u.id = t.user_id"
)
TOKENS: Final = text(
    f"{BEARERS} WHERE t.id > :after AND (CAST(:user_id AS bigint) IS NULL OR t.user_id = :user_id)"
    " ORDER BY t.id LIMIT :limit"
)
ONE_TOKEN: Final = text(f"{BEARERS} WHERE t.id = :id")
ADD_TOKEN: Final = text(
    "INSERT INTO api_tokens (name, role, token_hash, user_id, expires_at)"
    " VALUES (:name, :role, :token_hash, :user_id, :expires_at) RETURNING id"
)
REVOKE: Final = text("UPDATE api_tokens SET active = false WHERE id = :id")
REVOKE_ALL: Final = text("UPDATE api_tokens SET active = false WHERE user_id = :id AND active")


class PostgresUserRepository(UserRepository):
    """The tables `users`, `web_sessions` and `api_tokens`, within one transaction."""

    def __init__(self, session: DatabaseSession) -> None:
        self._connection = session.connection()

    @override
    def users(self, cursor: str | None, limit: int) -> Page[User]:
        rows = self._connection.execute(
            USERS, {"after": _after(cursor), "limit": limit + 1}
        ).mappings()
        return page_of(
            [(encode_cursor(row["id"]), User.model_validate(row)) for row in rows], limit
        )

    @override
    def user(self, user_id: int) -> User | None:
        row = self._connection.execute(ONE_USER, {"id": user_id}).mappings().first()
        return None if row is None else User.model_validate(row)

    @override
    def account(self, name: str) -> Account | None:
        row = self._connection.execute(ACCOUNT, {"name": name}).first()
        if row is None:
            return None
        return Account(row.id, row.name, Role(row.role), row.password_hash, row.active)

    @override
    def add(self, name: str, role: str, password_hash: str) -> int | None:
        added: int | None = self._connection.execute(
            ADD, {"name": name, "role": str(role), "password_hash": password_hash}
        ).scalar()
        return added

    @override
    def set(self, user_id: int, role: str, *, active: bool) -> None:
        self._connection.execute(SET, {"id": user_id, "role": str(role), "active": active})

    @override
    def set_password(self, user_id: int, password_hash: str) -> None:
        self._connection.execute(SET_PASSWORD, {"id": user_id, "password_hash": password_hash})

    @override
    def remove(self, user_id: int) -> None:
        self._connection.execute(REMOVE, {"id": user_id})

    @override
    def other_administrators(self, user_id: int) -> int:
        return sum(found != user_id for found in self._connection.execute(ADMINISTRATORS).scalars())

    @override
    def sessions(
        self, user_id: int | None, csrf_token: str | None, cursor: str | None, limit: int
    ) -> Page[Session]:
        after = decode_cursor(cursor, (str,))[0] if cursor is not None else ""
        rows = self._connection.execute(
            SESSIONS,
            {
                "user_id": user_id,
                "csrf_token": csrf_token,
                "after": after,
                "limit": limit + 1,
            },
        ).mappings()
        return page_of(
            [(encode_cursor(row["id"]), Session.model_validate(row)) for row in rows], limit
        )

    @override
    def session_owner(self, session_id: str) -> int | None:
        owner: int | None = self._connection.execute(SESSION_OWNER, {"id": session_id}).scalar()
        return owner

    @override
    def end_session(self, session_id: str) -> None:
        self._connection.execute(END_SESSION, {"id": session_id})

    @override
    def end_sessions(self, user_id: int, keep: str | None) -> None:
        self._connection.execute(END_SESSIONS, {"id": user_id, "keep": keep})

    @override
    def tokens(self, user_id: int | None, cursor: str | None, limit: int) -> Page[Token]:
        rows = self._connection.execute(
            TOKENS, {"user_id": user_id, "after": _after(cursor), "limit": limit + 1}
        ).mappings()
        return page_of(
            [(encode_cursor(row["id"]), Token.model_validate(row)) for row in rows], limit
        )

    @override
    def token(self, token_id: int) -> Token | None:
        row = self._connection.execute(ONE_TOKEN, {"id": token_id}).mappings().first()
        return None if row is None else Token.model_validate(row)

    @override
    def add_token(self, user_id: int, token: NewToken, token_hash: bytes) -> int:
        added = self._connection.execute(
            ADD_TOKEN,
            {
                "name": token.name,
                "role": str(token.role),
                "token_hash": token_hash,
                "user_id": user_id,
                "expires_at": token.expires_at,
            },
        )
        return int(added.scalar_one())

    @override
    def revoke_token(self, token_id: int) -> None:
        self._connection.execute(REVOKE, {"id": token_id})

    @override
    def revoke_tokens(self, user_id: int) -> int:
        return self._connection.execute(REVOKE_ALL, {"id": user_id}).rowcount


def _after(cursor: str | None) -> int:
    return int(decode_cursor(cursor, (int,))[0]) if cursor is not None else 0
