"""Detects whether another site's page made the browser sign in.

A stranger who signs a visitor's browser in under the stranger's name learns what the visitor then
searches for. There is no session yet to which a CSRF token could belong, so the browser must say
where the request comes from: in `Sec-Fetch-Site`, which browsers send only over HTTPS and to their
own machine, and otherwise in `Origin` (RFC 6454). Programs send neither.
"""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from draw_api.services.single_sign_on import SingleSignOnService
from draw_shared.contracts.failures import Forbidden
from draw_shared.wording import message

FROM_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})
USUAL_PORTS: Final = {"http": ":80", "https": ":443"}


def require_own_site(request: Request) -> None:
    """Return unless the browser says that another site's page made the request.

    Raises:
        Forbidden: another site's page made it.
    """
    said = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if said in FROM_ELSEWHERE or (
        said is None and origin is not None and _foreign(origin, request)
    ):
        raise Forbidden(
            message(
                "Sign in on the page itself, not from another site. Where a proxy "
                "changes the Host header, DRAW_API_PUBLIC_URL says which address is ours."
            )
        )


def _foreign(origin: str, request: Request) -> bool:
    """Return whether an origin is not ours; `null` is nobody's."""
    sign_on: SingleSignOnService = request.app.state.sign_on
    scheme, _, host = origin.lower().partition("://")
    port = USUAL_PORTS.get(scheme)
    if port is None:
        return True
    # TLS may end at a proxy: then the browser's scheme differs from ours.
    own = {request.headers.get("host", ""), urlsplit(sign_on.public_url).netloc}
    return host.removesuffix(port) not in {name.lower().removesuffix(port) for name in own if name}
