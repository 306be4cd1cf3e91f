"""Ports of signing in through an OpenID Connect provider."""

from typing import Protocol

from draw_api.models.access import Account
from draw_api.models.single_sign_on import ExternalIdentity, PendingSignIn


class IdentityProvider(Protocol):
    """The provider, and the sealing of the browser's cookie."""

    def sign_in_url(self, pending: PendingSignIn, challenge: str, redirect_uri: str) -> str:
        """Return the address of the provider's sign-in page."""

    def identity(self, code: str, pending: PendingSignIn, redirect_uri: str) -> ExternalIdentity:
        """Redeem the code and return the user whom the provider has identified.

        Raises:
            Unauthenticated: the code or the provider's token is not valid.
            Transient: the provider does not answer.
        """

    def seal(self, pending: PendingSignIn) -> str:
        """Return a text for the browser's cookie that only this suite can make."""

    def unseal(self, sealed: str) -> PendingSignIn | None:
        """Return the content of a sealed text, or None if it is not ours or too old."""


class ExternalUserRepository(Protocol):
    """Users who come from the provider."""

    def external(self, subject: str) -> Account | None:
        """Return the user of this issuer and subject."""

    def add_external(self, subject: str, names: list[str], role: str) -> Account | None:
        """Add a user under the first of the names that is free."""

    def set_role(self, user_id: int, role: str) -> None:
        """Set the user's role."""

    def other_administrators(self, user_id: int) -> int:
        """Return the number of other active administrators; it cannot fall until the commit."""
