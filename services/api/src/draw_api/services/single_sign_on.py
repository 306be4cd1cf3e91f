"""Signs users in through an OpenID Connect provider: authorization code flow with PKCE.

The provider tells the user's identity and groups; the groups decide the role at each sign-in. An
external user is identified by issuer and subject, never by name, so nobody becomes a local user by
having the same name.
"""

import base64
import hashlib
import re
import secrets
from typing import Final
from urllib.parse import urlsplit

from draw_api.models.access import Account
from draw_api.models.own_paths import own_path
from draw_api.models.single_sign_on import ExternalIdentity, PendingSignIn, RoleRules
from draw_api.ports.single_sign_on import ExternalUserRepository, IdentityProvider
from draw_api.services.access import TOKEN_BYTES, AccessService, StartedSession
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal, Role
from draw_shared.contracts.failures import Forbidden, NotFound, Unauthenticated
from draw_shared.contracts.transaction import TransactionOutcome
from draw_shared.wording import message

NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._@-]+")
MAX_NAME_LENGTH: Final = 64
NAME_SUFFIX: Final = 8


class SingleSignOnService:
    """The part that talks to the provider and needs no database."""

    def __init__(
        self, provider: IdentityProvider | None, *, name: str = "", public_url: str = ""
    ) -> None:
        self._provider = provider
        self.name = name
        self.public_url = public_url

    @property
    def enabled(self) -> bool:
        """Whether there is a provider."""
        return self._provider is not None

    def begin(self, target: str, redirect_uri: str) -> tuple[str, str]:
        """Return the provider's address for the browser, and the sealed state that it must keep.

        Raises:
            NotFound: there is no provider.
            Transient: it does not answer.
        """
        provider = self._require_provider()
        pending = PendingSignIn(
            state=secrets.token_urlsafe(TOKEN_BYTES),
            nonce=secrets.token_urlsafe(TOKEN_BYTES),
            verifier=secrets.token_urlsafe(TOKEN_BYTES),
            target=own_path(target) or "/",
        )
        digest = hashlib.sha256(pending.verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return provider.sign_in_url(pending, challenge, redirect_uri), provider.seal(pending)

    def finish(
        self, sealed: str | None, state: str, code: str, redirect_uri: str
    ) -> tuple[ExternalIdentity, str]:
        """Return the user who came back from the provider, and the path to open.

        Raises:
            NotFound: there is no provider.
            Unauthenticated: the sign-in did not begin here, or the provider does not vouch for
                the user.
            Transient: the provider does not answer.
        """
        provider = self._require_provider()
        pending = provider.unseal(sealed) if sealed else None
        if pending is None or not secrets.compare_digest(state.encode(), pending.state.encode()):
            raise Unauthenticated(
                message("This sign-in was not begun here, or too long ago; try again.")
            )
        return provider.identity(code, pending, redirect_uri), pending.target

    def _require_provider(self) -> IdentityProvider:
        if self._provider is None:
            raise NotFound(message("No identity provider is set up."))
        return self._provider


class ExternalAccessService:
    """Signs in users whom the provider has identified."""

    def __init__(
        self,
        users: ExternalUserRepository,
        access: AccessService,
        rules: RoleRules,
        audit: AuditTrail,
    ) -> None:
        self._users = users
        self._access = access
        self._rules = rules
        self._audit = audit

    def sign_in(self, identity: ExternalIdentity, address: str) -> StartedSession | Forbidden:
        """Return a new session of this user, who is added at the first sign-in.

        Return Forbidden when the groups give no role here, or the user was deactivated; both are
        recorded.
        """
        subject = f"{identity.issuer}|{identity.subject}"
        try:
            return self._let_in(identity, subject, address)
        except Forbidden as refused:
            name = candidate_names(identity, subject)[0]
            failed = TransactionOutcome.FAILURE
            self._audit.record_anonymous(name, address, "session.create", failed, str(refused))
            return refused

    def _let_in(self, identity: ExternalIdentity, subject: str, address: str) -> StartedSession:
        """Return a new session; raise Forbidden before anything is changed."""
        role = self._rules.role(identity.groups)
        if role is None:
            raise Forbidden(message("The identity provider gives you no role here."))
        account = self._users.external(subject) or self._add_user(identity, subject, role, address)
        if not account.active:
            raise Forbidden(message("An administrator has shut you out."))
        if account.role is not role:
            account = self._update_role(account, role, address)
        return self._access.start_session(account, address)

    def _add_user(
        self, identity: ExternalIdentity, subject: str, role: Role, address: str
    ) -> Account:
        account = self._users.add_external(subject, candidate_names(identity, subject), role)
        if account is None:
            raise Forbidden(message("Every name that could be yours is taken by somebody else."))
        by = Principal(account.user_id, account.name, role, address)
        self._audit.record(by, "user.create", f"{account.name} {role} external")
        return account

    def _update_role(self, account: Account, role: Role, address: str) -> Account:
        others = self._users.other_administrators(account.user_id)
        if account.role is Role.ADMIN and not others:
            raise Forbidden(
                message("You are the last administrator; make another one before you stop.")
            )
        self._users.set_role(account.user_id, role)
        by = Principal(account.user_id, account.name, role, address)
        self._audit.record(
            by,
            "user.update",
            message(
                "%(account)s %(role)s by the identity provider", account=account.name, role=role
            ),
        )
        return Account(account.user_id, account.name, role, account.password_hash, account.active)


def candidate_names(identity: ExternalIdentity, subject: str) -> list[str]:
    """Return user names to try, the nicest first; the last one is unique."""
    plain = NOT_IN_A_NAME.sub(".", identity.name).strip("._@-") or "user"
    host = urlsplit(identity.issuer).hostname or "provider"
    mark = hashlib.sha256(subject.encode()).hexdigest()[:NAME_SUFFIX]
    at_host = plain if "@" in plain else f"{plain}@{NOT_IN_A_NAME.sub('.', host)}"
    own = f"{plain[: MAX_NAME_LENGTH - NAME_SUFFIX - 1]}-{mark}"
    return [plain[:MAX_NAME_LENGTH], at_host[:MAX_NAME_LENGTH], own]
