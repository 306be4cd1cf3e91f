"""The caller, and what the caller may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, SecretStr

from draw_api.models.paging import Answer, Request
from draw_shared.contracts.texts import LINE, TextForm
from draw_shared.wording import message

UserName = Annotated[
    str,
    TextForm(
        r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$",
        message(
            "must begin with a letter or digit and have at most 64 letters, digits and . _ @ -"
        ),
    ),
    Field(description="letters, digits, ._@-"),
]


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
class Account:
    """What is needed to authenticate a user."""

    user_id: int
    name: str
    role: Role
    password_hash: str
    active: bool


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


class SignIn(Request):
    """A name and a password."""

    name: Annotated[str, Field(min_length=1, max_length=64), LINE] = Field(examples=["admin"])
    password: SecretStr = Field(min_length=1, max_length=200, examples=["correct horse battery"])


class SessionStarted(Answer):
    """A browser's session; the session token itself is in the cookie only."""

    name: str = Field(examples=["admin"])
    role: Role = Field(examples=["admin"])
    csrf_token: str = Field(
        description="to be sent as X-CSRF-Token with every POST, PUT, PATCH and DELETE"
    )
    expires_at: datetime


class Me(Answer):
    """The caller."""

    name: str = Field(examples=["admin"])
    role: Role = Field(examples=["admin"])
    token_name: str | None = Field(default=None, description="null for a browser's session")
    csrf_token: str | None = Field(default=None, description="null for a bearer token")
