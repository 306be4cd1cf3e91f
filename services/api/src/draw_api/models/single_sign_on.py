"""Signing in through an OpenID Connect provider."""

from dataclasses import dataclass

from pydantic import Field

from draw_api.models.access import Role
from draw_api.models.paging import Answer


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """What the browser keeps, sealed, while it is at the provider."""

    state: str
    nonce: str
    verifier: str
    """Of PKCE (RFC 7636)."""
    target: str
    """Path to go to afterwards."""


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """Whom the provider has identified."""

    issuer: str
    subject: str
    name: str
    groups: tuple[str, ...]
    """Values of the claim that decides about the role."""


@dataclass(frozen=True, slots=True)
class RoleRules:
    """Which values of the claim give which role; the highest counts."""

    admin: frozenset[str]
    operator: frozenset[str]
    viewer: frozenset[str]

    def role(self, groups: tuple[str, ...]) -> Role | None:
        """Return the role of somebody with these values, or None when he has none here."""
        for role, values in (
            (Role.ADMIN, self.admin),
            (Role.OPERATOR, self.operator),
            (Role.VIEWER, self.viewer),
        ):
            if values.intersection(groups):
                return role
        return None


class SingleSignOnState(Answer):
    """Whether one may sign in through an identity provider, and how it is called."""

    enabled: bool
    name: str = Field(examples=["Hospital account"])
