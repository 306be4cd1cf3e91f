"""Sessions and bearer tokens in PostgreSQL."""

from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_shared.access.authentication import CredentialRepository
from draw_shared.access.principals import KnownSession, KnownToken, Role

TOKEN_USE_INTERVAL_SECONDS: Final = 60

SESSION: Final = text(
    """
    SELECT s.user_id, u.name, u.role, s.csrf_token, s.expires_at, u.language
    FROM web_sessions s JOIN users u ON u.id = s.user_id
    WHERE s.token_hash = :token_hash AND s.expires_at > now() AND u.active
    """
)
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


class PostgresCredentialRepository(CredentialRepository):
    """Sessions and tokens, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

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
