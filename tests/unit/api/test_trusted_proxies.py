"""Whose word the web server takes for who the client is."""

import socket

import httpx
import pytest
from pydantic import ValidationError

from draw_api.settings import ApiSettings
from draw_shared.web.server import WebServer

NAMED = {"X-Forwarded-For": "::ffff:203.0.113.7", "X-Forwarded-Proto": "https"}


def settings(trusted, tmp_path):
    return ApiSettings(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        broker_url="amqp://nobody@127.0.0.1:1/none",
        storage_root=tmp_path,
        api_trusted_proxies=trusted,
    )


async def who(scope, _receive, send):
    """Answer with the client and the scheme that an application sees."""
    told = f"{scope['client'][0]} {scope['scheme']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": told})


def seen(host, trusted):
    server = WebServer(who, host, 0, trusted_proxies=trusted)
    server.start()
    try:
        # The loop's own address: at :: the server sees it as an IPv4-mapped one.
        return httpx.get(f"http://127.0.0.1:{server.port}", headers=NAMED, verify=False).text  # noqa: S501
    finally:
        server.stop(1)


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
@pytest.mark.parametrize(
    ("trusted", "believed"),
    [
        ("127.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1, 127.0.0.9/8", True),
        ("192.0.2.0/24", False),
        ("", False),
    ],
)
def test_a_proxy_is_believed_however_its_address_is_written(tmp_path, host, trusted, believed):
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no socket for IPv4 and IPv6")
    written = settings(trusted, tmp_path).api_trusted_proxies
    told = seen(host, written)
    assert (told == "::ffff:203.0.113.7 https") == believed
    assert ("127.0.0.1 http" in told) != believed


@pytest.mark.parametrize("trusted", ["proxy.example.org", "192.0.2.300", "10.0.0.0/33", "*"])
def test_what_is_no_address_is_refused_in_words(tmp_path, trusted):
    with pytest.raises(ValidationError, match="must be an address or a network such as"):
        settings(trusted, tmp_path)
