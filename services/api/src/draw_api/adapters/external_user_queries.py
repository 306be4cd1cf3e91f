"""Stores users of the identity provider in PostgreSQL."""

from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.adapters.user_queries import PostgresUserRepository
from draw_api.models.access import Account
from draw_api.ports.single_sign_on import ExternalUserRepository
from draw_shared.access.principals import Role

EXTERNAL: Final = text(
    "SELECT id, name, role, password_hash, active FROM users WHERE external_subject = :subject"
)
ADD: Final = text(
    "INSERT INTO users (name, role, external_subject) VALUES (:name, :role, :subject)"
    " ON CONFLICT DO NOTHING RETURNING id"
)
SET_ROLE: Final = text("UPDATE users SET role = :role WHERE id = :id")


class PostgresExternalUserRepository(ExternalUserRepository):
    """Users by issuer and subject, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()
        self._users = PostgresUserRepository(session)

    @override
    def external(self, subject: str) -> Account | None:
        row = self._connection.execute(EXTERNAL, {"subject": subject}).first()
        if row is None:
            return None
        return Account(row.id, row.name, Role(row.role), row.password_hash, row.active)

    @override
    def add_external(self, subject: str, names: list[str], role: str) -> Account | None:
        for name in names:
            values = {"name": name, "role": str(role), "subject": subject}
            if self._connection.execute(ADD, values).first() is not None:
                return self.external(subject)
        # Another request added the same person at the same moment, or all names are taken.
        return self.external(subject)

    @override
    def set_role(self, user_id: int, role: str) -> None:
        self._connection.execute(SET_ROLE, {"id": user_id, "role": str(role)})

    @override
    def other_administrators(self, user_id: int) -> int:
        return self._users.other_administrators(user_id)
