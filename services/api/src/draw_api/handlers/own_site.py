"""Whether a browser was made to sign somebody in by the page of another site.

A stranger who signs a visitor's browser in under his own name learns what the visitor then looks
for. There is no session yet that a CSRF token could belong to, so the browser has to say where
the request comes from: in `Sec-Fetch-Site`, which browsers send to HTTPS and to their own machine
alone, and else in `Origin` (RFC 6454). Programs send neither.
"""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from draw_api.models.failures import Forbidden
from draw_api.services.single_sign_on import SingleSignOnService

FROM_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})
USUAL_PORTS: Final = {"http": ":80", "https": ":443"}


def require_own_site(request: Request) -> None:
    """Return unless a browser says that another site's page made it ask.

    Raises:
        Forbidden: it says so.
    """
    said = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if said in FROM_ELSEWHERE or (
        said is None and origin is not None and _foreign(origin, request)
    ):
        raise Forbidden(
            "Sign in on the page itself, not from another site. Where a proxy changes the Host"
            " header, DRAW_API_PUBLIC_URL says which address is ours."
        )


def _foreign(origin: str, request: Request) -> bool:
    """Return whether an origin is no address of ours; `null` is everybody's and nobody's."""
    sign_on: SingleSignOnService = request.app.state.sign_on
    scheme, _, host = origin.lower().partition("://")
    port = USUAL_PORTS.get(scheme)
    if port is None:
        return True
    # TLS may end before us: the scheme that the browser sees is then not ours.
    own = {request.headers.get("host", ""), urlsplit(sign_on.public_url).netloc}
    return host.removesuffix(port) not in {name.lower().removesuffix(port) for name in own if name}
