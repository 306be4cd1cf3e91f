"""Users, their sessions and tokens, and the user's own password."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Path, Request, Response

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import (
    FormField,
    fields_of,
    fingerprint,
    require_unchanged,
    validate_form,
    values_of,
)
from draw_api.handlers.web.languages import N_, _, said
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, RowId
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
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
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Forbidden, Invalid, NotFound

router = APIRouter(include_in_schema=False)

MayReadOwnCredentials = Annotated[Principal, page_requires(Permission.READ_OWN_CREDENTIALS)]
MayManageUsers = Annotated[Principal, page_requires(Permission.MANAGE_USERS)]
ManageUsersAct = Annotated[SubmittedForm, form_requires(Permission.MANAGE_USERS)]
MayChangeOwnPassword = Annotated[Principal, page_requires(Permission.CHANGE_OWN_PASSWORD)]
ChangeOwnPasswordAct = Annotated[SubmittedForm, form_requires(Permission.CHANGE_OWN_PASSWORD)]
MayMakeTokens = Annotated[Principal, page_requires(Permission.MAKE_TOKENS)]
MakeTokensAct = Annotated[SubmittedForm, form_requires(Permission.MAKE_TOKENS)]
EndOwnCredentialsAct = Annotated[SubmittedForm, form_requires(Permission.END_OWN_CREDENTIALS)]

SessionId = Annotated[str, Path(), SHORT_HASH]

MAX_LISTED: Final = 200


@dataclass(frozen=True, slots=True)
class UsersView(View):
    """Users, tokens and sessions."""

    template: ClassVar[str] = "users/list.html.jinja"

    users: Page[User] | None
    """None if the caller may not see them."""
    tokens: list[Token]
    sessions: list[Session]
    own_name: str


@dataclass(frozen=True, slots=True)
class FormView(View):
    """One form about users or tokens."""

    template: ClassVar[str] = "users/form.html.jinja"

    title: str
    action: str
    fields: list[FormField]
    button: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class UserView(View):
    """One user with the settings for administrators."""

    template: ClassVar[str] = "users/detail.html.jinja"

    user: User
    fields: list[FormField]
    password: list[FormField]
    problem: str
    opened: str
    """What the form was filled in with."""


@dataclass(frozen=True, slots=True)
class TokenView(View):
    """A token; only now is it shown."""

    template: ClassVar[str] = "users/token.html.jinja"

    token: TokenMade


@router.get("/users")
def users(
    request: Request, by: MayReadOwnCredentials, work: InWork, cursor: Cursor = None
) -> Response:
    """List users, tokens and sessions: the caller's own, or everybody's with the permission."""
    everybodys = may(by, Permission.READ_ALL_CREDENTIALS)
    view = UsersView(
        users=work.users.users(cursor, ON_A_PAGE) if may(by, Permission.READ_USERS) else None,
        tokens=work.users.tokens(by, None, MAX_LISTED, all_users=everybodys).items,
        sessions=work.users.sessions(by, None, MAX_LISTED, all_users=everybodys).items,
        own_name=by.name,
    )
    return page(request, by, view)


@router.get("/users/new")
def new(request: Request, by: MayManageUsers) -> Response:
    """Show the form for a new user."""
    return page(request, by, _new_user({"role": "viewer"}))


@router.post("/users/new")
def add(request: Request, act: ManageUsersAct, work: InWork) -> Response:
    """Add a user."""
    values = _with_secret(values_of(NewUser, act.form), "password", act.form.exact("password"))
    try:
        work.users.add(act.by, validate_form(NewUser, values))
    except (Invalid, Conflict) as error:
        return _refuse(request, act.by, _new_user(values, error))
    return redirect("/users", "user-added")


@router.get("/users/password")
def own_password(request: Request, by: MayChangeOwnPassword) -> Response:
    """Show the form for the caller's own password."""
    return page(request, by, _own_password())


@router.post("/users/password")
def change_password(request: Request, act: ChangeOwnPasswordAct, work: InWork) -> Response:
    """Change the caller's own password."""
    values = {name: act.form.exact(name) for name in ("current_password", "new_password")}
    try:
        refused = work.users.change_password(act.by, validate_form(PasswordChange, values))
    except (Invalid, Conflict, Forbidden) as error:
        return _refuse(request, act.by, _own_password(error))
    if refused is not None:
        # Returned, not raised: the attempt must stay on record.
        return _refuse(request, act.by, _own_password(refused))
    return redirect("/users", "password-set")


@router.get("/users/{user_id}")
def user(request: Request, by: MayManageUsers, work: InWork, user_id: RowId) -> Response:
    """Show one user."""
    return page(request, by, _one(work, user_id))


@router.post("/users/{user_id}")
def save(request: Request, act: ManageUsersAct, work: InWork, user_id: RowId) -> Response:
    """Set a user's role and whether the user may sign in."""
    values = values_of(UserSettings, act.form)
    try:
        require_unchanged(act.form, fingerprint(UserSettings, work.users.user(user_id)))
        work.users.set(act.by, user_id, validate_form(UserSettings, values))
    except (Invalid, Conflict) as error:
        return _refuse(request, act.by, _one(work, user_id, error, values))
    except NotFound as error:
        values |= {"name": act.form.text("name")}
        return _refuse(request, act.by, _new_user(values, error))
    return redirect("/users", "user-saved")


@router.post("/users/{user_id}/password")
def reset(request: Request, act: ManageUsersAct, work: InWork, user_id: RowId) -> Response:
    """Set a user's new password."""
    try:
        wanted = validate_form(PasswordReset, {"password": act.form.exact("password")})
        work.users.reset_password(act.by, user_id, wanted.password.get_secret_value())
    except (Invalid, Conflict) as error:
        return _refuse(request, act.by, _one(work, user_id, error))
    return redirect("/users", "password-set")


@router.get("/users/{user_id}/remove")
def ask_remove(request: Request, by: MayManageUsers, work: InWork, user_id: RowId) -> Response:
    """Ask for confirmation before a user is deleted."""
    found = work.users.user(user_id)
    view = ConfirmView(
        title=_("Remove %(name)s?", name=found.name),
        text=_("Sessions and tokens of this user end at once. The transaction log keeps the name."),
        button=_("Remove the user"),
        action=f"/users/{user_id}/remove",
        back="/users",
    )
    return page(request, by, view)


@router.post("/users/{user_id}/remove")
def remove(act: ManageUsersAct, work: InWork, user_id: RowId) -> Response:
    """Delete a user."""
    work.users.remove(act.by, user_id)
    return redirect("/users", "user-removed")


@router.get("/tokens/new")
def new_token(request: Request, by: MayMakeTokens) -> Response:
    """Show the form for a new token."""
    return page(request, by, _new_token({"role": "viewer"}))


@router.post("/tokens/new")
def make_token(request: Request, act: MakeTokensAct, work: InWork) -> Response:
    """Create a token and show it, only this once."""
    values = values_of(NewToken, act.form)
    expires = values.get("expires_at")
    values["expires_at"] = f"{expires}Z" if expires else None
    try:
        made = work.users.make_token(act.by, validate_form(NewToken, values))
    except (Invalid, Conflict, Forbidden) as error:
        return _refuse(request, act.by, _new_token({**values, "expires_at": expires}, error))
    return page(request, act.by, TokenView(made), status=HTTPStatus.CREATED)


@router.post("/tokens/{token_id}/revoke")
def revoke(act: EndOwnCredentialsAct, work: InWork, token_id: RowId) -> Response:
    """Revoke a token."""
    work.users.revoke_token(act.by, token_id)
    return redirect("/users", "token-revoked")


@router.post("/users/sessions/{session_id}/end")
def end_session(act: EndOwnCredentialsAct, work: InWork, session_id: SessionId) -> Response:
    """End a session."""
    work.users.end_session(act.by, session_id)
    return redirect("/users", "session-ended")


Failure = Invalid | Conflict | Forbidden | NotFound | None


def _problems(error: Failure) -> tuple[tuple[FieldProblem, ...], str]:
    if isinstance(error, Invalid):
        return error.problems, ""
    return (), said(str(error)) if error else ""


def _refuse(request: Request, by: Principal, view: View) -> Response:
    return page(request, by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)


def _with_secret(values: dict[str, Any], name: str, secret: str) -> dict[str, Any]:
    return {**values, name: secret or None}


def _new_user(values: dict[str, Any], error: Failure = None) -> FormView:
    problems, problem = _problems(error)
    fields = fields_of(NewUser, {**values, "password": ""}, problems)
    return FormView(_("Add a user"), "/users/new", fields, _("Add the user"), problem)


def _new_token(values: dict[str, Any], error: Failure = None) -> FormView:
    problems, problem = _problems(error)
    labels = {"expires_at": N_("Expires (UTC)")}
    fields = fields_of(NewToken, values, problems, labels=labels)
    return FormView(_("Make a token"), "/tokens/new", fields, _("Make the token"), problem)


def _own_password(error: Failure = None) -> FormView:
    problems, problem = _problems(error)
    fields = fields_of(PasswordChange, {}, problems)
    return FormView(_("Change your password"), "/users/password", fields, _("Change it"), problem)


def _one(
    work: UnitOfWork,
    user_id: int,
    error: Failure = None,
    typed: dict[str, Any] | None = None,
) -> UserView:
    problems, problem = _problems(error)
    found = work.users.user(user_id)
    return UserView(
        user=found,
        fields=fields_of(UserSettings, typed or found.model_dump(mode="json"), problems),
        password=fields_of(PasswordReset, {}, problems),
        problem=problem,
        opened=fingerprint(UserSettings, found),
    )
