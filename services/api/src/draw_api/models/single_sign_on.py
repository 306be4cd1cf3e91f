"""Signing in through an OpenID Connect provider."""

from dataclasses import dataclass

from pydantic import Field

from draw_api.models.paging import Answer
from draw_shared.access.principals import Role


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """What the browser keeps, sealed, while the user signs in at the provider."""

    state: str
    nonce: str
    verifier: str
    """The code verifier of PKCE (RFC 7636)."""
    target: str
    """The path to open after signing in."""


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """The user whom the provider has identified."""

    issuer: str
    subject: str
    name: str
    groups: tuple[str, ...]
    """Values of the claim that decides the role."""


@dataclass(frozen=True, slots=True)
class RoleRules:
    """Which values of the claim give which role; the highest role counts."""

    admin: frozenset[str]
    operator: frozenset[str]
    viewer: frozenset[str]

    def role(self, groups: tuple[str, ...]) -> Role | None:
        """Return the role for these values, or None if they give none."""
        for role, values in (
            (Role.ADMIN, self.admin),
            (Role.OPERATOR, self.operator),
            (Role.VIEWER, self.viewer),
        ):
            if values.intersection(groups):
                return role
        return None


class SingleSignOnState(Answer):
    """Whether users may sign in through an identity provider, and its name."""

    enabled: bool
    name: str = Field(examples=["Hospital account"])
