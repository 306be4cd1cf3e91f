"""The caller: who it is, and how it has shown that."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a user may do; each role includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, required: "Role") -> bool:
        """Return whether this role may do what `required` may."""
        return RANKS[self] >= RANKS[required]


RANKS: Final = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller."""

    user_id: int
    name: str
    role: Role
    address: str
    token_name: str | None = None
    """Name of the bearer token, if a program calls."""
    csrf_token: str | None = None
    """What unsafe requests must repeat, if a browser calls."""
    language: str = ""
    """What the user has chosen for the page; empty: as the browser asks for."""

    @property
    def actor(self) -> str:
        """The name for the audit log."""
        return f"{self.name} (token {self.token_name})" if self.token_name else self.name

    @property
    def is_program(self) -> bool:
        """Whether the caller uses a bearer token instead of a session."""
        return self.token_name is not None


@dataclass(frozen=True, slots=True)
class KnownSession:
    """The unexpired session of a signed-in browser."""

    user_id: int
    name: str
    role: Role
    csrf_token: str
    expires_at: datetime
    language: str = ""


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A bearer token that is valid."""

    user_id: int
    user_name: str
    user_role: Role
    token_name: str
    token_role: Role
