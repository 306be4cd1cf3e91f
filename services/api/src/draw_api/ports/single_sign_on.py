"""Ports of signing in through an OpenID Connect provider."""

from typing import Protocol

from draw_api.models.access import Account
from draw_api.models.single_sign_on import ExternalIdentity, PendingSignIn


class IdentityProvider(Protocol):
    """The provider, and what seals the browser's cookie."""

    def sign_in_url(self, pending: PendingSignIn, challenge: str, redirect_uri: str) -> str:
        """Return where to send the browser."""

    def identity(self, code: str, pending: PendingSignIn, redirect_uri: str) -> ExternalIdentity:
        """Redeem the code and return whom the provider has identified.

        Raises:
            Unauthenticated: the code or the provider's token is not valid.
            Transient: the provider does not answer.
        """

    def seal(self, pending: PendingSignIn) -> str:
        """Return a text for the browser to keep, which only we can have made."""

    def opened(self, sealed: str) -> PendingSignIn | None:
        """Return what was sealed, or None when it is not ours or too old."""


class ExternalUserRepository(Protocol):
    """Users who come from the provider."""

    def external(self, subject: str) -> Account | None:
        """Return the user of this issuer and subject."""

    def add_external(self, subject: str, names: list[str], role: str) -> Account | None:
        """Add a user under the first of the names that is free."""

    def set_role(self, user_id: int, role: str) -> None:
        """Set what he may do."""

    def other_administrators(self, user_id: int) -> int:
        """Return how many other active administrators there are; none can go until the commit."""
