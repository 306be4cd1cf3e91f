"""Accounts, signing in, and what a caller is told of itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field, SecretStr

from draw_api.models.paging import Answer, Request
from draw_shared.access.principals import Role
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


@dataclass(frozen=True, slots=True)
class Account:
    """What is needed to authenticate a user."""

    user_id: int
    name: str
    role: Role
    password_hash: str
    active: bool


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
