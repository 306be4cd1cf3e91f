"""Talks to an OpenID Connect provider over HTTPS (OpenID Connect Core 1.0, RFC 6749, RFC 7636).

The provider's metadata and keys are cached for an hour. An unknown key is looked up again at once,
at most every few seconds.
"""

import hashlib
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey
from typing_extensions import override

from draw_api.models.single_sign_on import ExternalIdentity, PendingSignIn
from draw_api.ports.single_sign_on import IdentityProvider
from draw_shared.contracts.failures import ProviderUnavailable, Unauthenticated
from draw_shared.wording import message

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""Asymmetric only: a token signed with the client's secret proves nothing (RFC 8725 3.1)."""
SEAL: Final = "HS256"
REQUEST_TIMEOUT_SECONDS: Final = 5.0
CACHE_SECONDS: Final = 3600.0
MIN_KEY_LOOKUP_INTERVAL_SECONDS: Final = 10.0
SIGN_IN_TIMEOUT_SECONDS: Final = 600
LEEWAY_SECONDS: Final = 60
NAME_CLAIMS: Final = ("preferred_username", "email", "name")


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """Our registration at the provider."""

    issuer: str
    client_id: str
    client_secret: str
    scopes: str
    groups_claim: str


class OidcIdentityProvider(IdentityProvider):
    """One provider."""

    def __init__(self, client: ClientRegistration) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._found: dict[str, Any] = {}
        self._found_until = 0.0
        self._keys: KeySet | None = None
        self._keys_at = -CACHE_SECONDS
        # A separate key for sealing: the secret itself signs nothing that leaves this process.
        secret = f"draw sealed sign-in {client.client_secret}".encode()
        self._seal = OctKey.import_key(hashlib.sha256(secret).digest())

    @override
    def sign_in_url(self, pending: PendingSignIn, challenge: str, redirect_uri: str) -> str:
        asked = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._client.scopes,
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = str(self._discover()["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    @override
    def identity(self, code: str, pending: PendingSignIn, redirect_uri: str) -> ExternalIdentity:
        redeemed = self._request(
            "POST",
            str(self._discover()["token_endpoint"]),
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": pending.verifier,
            },
            auth=(self._client.client_id, self._client.client_secret),
        )
        token = redeemed.get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated(message("The identity provider does not say who you are."))
        return self._identity(self._claims(token, pending.nonce))

    @override
    def seal(self, pending: PendingSignIn) -> str:
        claims = asdict(pending) | {"exp": int(time.time()) + SIGN_IN_TIMEOUT_SECONDS}
        return jwt.encode({"alg": SEAL}, claims, self._seal)

    @override
    def unseal(self, sealed: str) -> PendingSignIn | None:
        try:
            claims = jwt.decode(sealed, self._seal, algorithms=[SEAL]).claims
            jwt.JWTClaimsRegistry(exp={"essential": True}).validate(claims)
            return PendingSignIn(
                claims["state"], claims["nonce"], claims["verifier"], claims["target"]
            )
        except (JoseError, ValueError, KeyError):
            return None

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        wanted = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._client.issuer},
            aud={"essential": True, "value": self._client.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            claims = self._decode(token)
            wanted.validate(claims)
        except (JoseError, ValueError) as error:
            raise Unauthenticated(message("The identity provider's token is not valid.")) from error
        return claims

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            return dict(jwt.decode(token, self._key_set(), algorithms=ALGORITHMS).claims)
        except (JoseError, ValueError):
            # The provider may have begun to sign with a new key.
            return dict(jwt.decode(token, self._key_set(fresh=True), algorithms=ALGORITHMS).claims)

    def _identity(self, claims: dict[str, Any]) -> ExternalIdentity:
        subject = str(claims["sub"])
        named = [str(claims[claim]) for claim in NAME_CLAIMS if claims.get(claim)]
        return ExternalIdentity(
            self._client.issuer,
            subject,
            named[0] if named else subject,
            _texts(claims.get(self._client.groups_claim)),
        )

    def _discover(self) -> dict[str, Any]:
        with self._lock:
            if time.monotonic() < self._found_until:
                return self._found
        base = self._client.issuer.rstrip("/")
        found = self._request("GET", f"{base}/.well-known/openid-configuration")
        needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if found.get("issuer") != self._client.issuer or any(n not in found for n in needed):
            raise ProviderUnavailable(
                message("The identity provider describes itself as another one.")
            )
        with self._lock:
            self._found, self._found_until = found, time.monotonic() + CACHE_SECONDS
        return found

    def _key_set(self, *, fresh: bool = False) -> KeySet:
        longest = MIN_KEY_LOOKUP_INTERVAL_SECONDS if fresh else CACHE_SECONDS
        with self._lock:
            if self._keys is not None and time.monotonic() - self._keys_at < longest:
                return self._keys
        found = self._request("GET", str(self._discover()["jwks_uri"]))
        try:
            keys = KeySet.import_key_set({"keys": found["keys"]})
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise ProviderUnavailable(
                message("The identity provider's keys cannot be read.")
            ) from error
        with self._lock:
            self._keys, self._keys_at = keys, time.monotonic()
        return keys

    def _request(self, method: str, url: str, **how: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's
        try:
            answer = httpx.request(
                method, url, timeout=REQUEST_TIMEOUT_SECONDS, follow_redirects=False, **how
            )
            if method == "POST" and answer.is_client_error:
                raise Unauthenticated(
                    message("The identity provider does not accept this sign-in.")
                )
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ProviderUnavailable(
                message("The identity provider does not answer; try again.")
            ) from error
        if not isinstance(found, dict):
            raise ProviderUnavailable(
                message("The identity provider does not answer as it should.")
            )
        return found


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(one for one in value if isinstance(one, str))
    return ()
