"""Users, their sessions and their tokens."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, RowId
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.texts import SHORT_HASH
from draw_api.models.users import (
    NewToken,
    NewUser,
    PasswordChange,
    PasswordReset,
    Session,
    Token,
    TokenMade,
    User,
    UserSettings,
)
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import failure, responses

users = APIRouter(prefix="/api/v1/users", tags=["users"])
own = APIRouter(prefix="/api/v1/me", tags=["session"])
sessions = APIRouter(prefix="/api/v1/sessions", tags=["users"])
tokens = APIRouter(prefix="/api/v1/tokens", tags=["users"])

MayReadUsers = Annotated[Principal, requires(Permission.READ_USERS)]
MayManageUsers = Annotated[Principal, requires(Permission.MANAGE_USERS)]
MayChangeOwnPassword = Annotated[Principal, requires(Permission.CHANGE_OWN_PASSWORD)]
MayReadOwnCredentials = Annotated[Principal, requires(Permission.READ_OWN_CREDENTIALS)]
MayEndOwnCredentials = Annotated[Principal, requires(Permission.END_OWN_CREDENTIALS)]
MayMakeTokens = Annotated[Principal, requires(Permission.MAKE_TOKENS)]

NOT_FOUND: Final = responses(HTTPStatus.NOT_FOUND)
CONFLICT: Final = responses(HTTPStatus.CONFLICT)
FORBIDDEN: Final = responses(HTTPStatus.FORBIDDEN)

AllUsers = Annotated[bool, Query(description="everybody's; for administrators")]


@users.get("")
def all_users(
    _: MayReadUsers, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[User]:
    """Return the users, in the order in which they were added."""
    return work.users.users(cursor, limit)


@users.post("", status_code=HTTPStatus.CREATED, responses=CONFLICT)
def add(response: Response, by: MayManageUsers, work: InWork, body: NewUser) -> User:
    """Add a user."""
    user = work.users.add(by, body)
    response.headers["Location"] = f"{users.prefix}/{user.id}"
    return user


@users.get("/{user_id}", responses=NOT_FOUND)
def user(_: MayReadUsers, work: InWork, user_id: RowId) -> User:
    """Return one user."""
    return work.users.user(user_id)


@users.put("/{user_id}", responses=NOT_FOUND | CONFLICT)
def settings(by: MayManageUsers, work: InWork, user_id: RowId, body: UserSettings) -> User:
    """Set a user's role and permission to sign in; an active administrator always remains."""
    return work.users.set(by, user_id, body)


@users.delete("/{user_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_FOUND | CONFLICT)
def remove(by: MayManageUsers, work: InWork, user_id: RowId) -> None:
    """Delete a user with all sessions and tokens; an active administrator always remains."""
    work.users.remove(by, user_id)


@users.put("/{user_id}/password", status_code=HTTPStatus.NO_CONTENT, responses=NOT_FOUND)
def reset_password(by: MayManageUsers, work: InWork, user_id: RowId, body: PasswordReset) -> None:
    """Set a user's new password, end all sessions and revoke all tokens of the user."""
    work.users.reset_password(by, user_id, body.password.get_secret_value())


@own.put(
    "/password",
    status_code=HTTPStatus.NO_CONTENT,
    response_model=None,
    responses=responses(HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS),
)
def change_password(
    by: MayChangeOwnPassword, work: InWork, body: PasswordChange
) -> Response | None:
    """Change the caller's own password and end the caller's other sessions; not with a token."""
    refused = work.users.change_password(by, body)
    # Returned, not raised: the attempt must stay on record.
    return failure(refused) if refused else None


@sessions.get("", responses=FORBIDDEN)
def signed_in(
    by: MayReadOwnCredentials,
    work: InWork,
    all_users: AllUsers = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Session]:
    """Return the caller's own sessions, or everybody's."""
    return work.users.sessions(by, cursor, limit, all_users=all_users)


@sessions.delete("/{session_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_FOUND)
def end_session(
    by: MayEndOwnCredentials,
    work: InWork,
    session_id: Annotated[str, Path(examples=["6f1c0a9d52b34e8f7a61b2c3"]), SHORT_HASH],
) -> None:
    """End a session: the caller's own, or as administrator anybody's."""
    work.users.end_session(by, session_id)


@tokens.get("", responses=FORBIDDEN)
def made(
    by: MayReadOwnCredentials,
    work: InWork,
    all_users: AllUsers = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Token]:
    """Return the caller's own tokens, or everybody's; the secret texts are not stored."""
    return work.users.tokens(by, cursor, limit, all_users=all_users)


@tokens.post("", status_code=HTTPStatus.CREATED, responses=FORBIDDEN)
def make(by: MayMakeTokens, work: InWork, body: NewToken) -> TokenMade:
    """Create a bearer token for a program; it is shown only this once. Not with a token."""
    return work.users.make_token(by, body)


@tokens.delete("/{token_id}", status_code=HTTPStatus.NO_CONTENT, responses=NOT_FOUND)
def revoke(by: MayEndOwnCredentials, work: InWork, token_id: RowId) -> None:
    """Revoke a token: the caller's own, or as administrator anybody's."""
    work.users.revoke_token(by, token_id)
