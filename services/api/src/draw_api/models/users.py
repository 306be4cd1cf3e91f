"""Users, their sessions and their tokens, as administrators and owners see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, SecretStr, StrictBool

from draw_api.models.access import UserName
from draw_api.models.paging import Answer, Request
from draw_shared.access.principals import Role
from draw_shared.contracts.moments import Moment
from draw_shared.contracts.texts import LINE, NewPassword


class NewUser(Request):
    """A new user; without a password only the identity provider can sign the user in."""

    name: UserName = Field(examples=["m.curie"])
    role: Role = Field(examples=["operator"])
    password: NewPassword | None = Field(default=None, examples=["correct horse battery"])


class UserSettings(Request):
    """The settings of a user."""

    role: Role = Field(examples=["viewer"])
    active: StrictBool = Field(default=True, description="off: may not sign in, and is signed out")


class User(Answer):
    """A person who may sign in."""

    id: int = Field(examples=[2])
    name: str = Field(examples=["m.curie"])
    role: Role = Field(examples=["operator"])
    active: bool
    external: bool = Field(description="comes from the identity provider")
    has_password: bool
    created_at: datetime
    last_login_at: datetime | None


class PasswordReset(Request):
    """A new password, set by an administrator."""

    password: NewPassword = Field(examples=["correct horse battery"])


class PasswordChange(Request):
    """The caller's own new password."""

    current_password: SecretStr = Field(min_length=1, max_length=200, examples=["old one here"])
    new_password: NewPassword = Field(examples=["correct horse battery"])


class Session(Answer):
    """A signed-in browser."""

    id: str = Field(examples=["6f1c0a9d52b34e8f7a61b2c3"])
    user_id: int
    user_name: str = Field(examples=["m.curie"])
    address: str = Field(description="from where it was begun", examples=["192.0.2.17"])
    created_at: datetime
    expires_at: datetime
    current: bool = Field(description="the one that asks")


class NewToken(Request):
    """A new bearer token."""

    name: Annotated[str, Field(min_length=1, max_length=64), LINE] = Field(examples=["dose report"])
    role: Role = Field(description="at most the asker's own", examples=["viewer"])
    expires_at: Moment | None = Field(
        default=None,
        description="when it stops working; without it: never",
        examples=["2030-01-01T00:00:00Z"],
    )


class Token(Answer):
    """A bearer token, without the secret text, which is not stored."""

    id: int = Field(examples=[5])
    name: str = Field(examples=["dose report"])
    role: Role = Field(examples=["viewer"])
    user_id: int
    user_name: str = Field(examples=["m.curie"])
    active: bool = Field(description="false: revoked")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class TokenMade(Token):
    """A new token; only now is its text shown."""

    token: str = Field(examples=["draw_J2k..."])
