"""A small OpenID Connect provider: signs in whoever is asked for, or misbehaves as told."""

import base64
import hashlib
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

CLIENT_ID = "draw"
CLIENT_SECRET = "a secret between provider and client"


class Provider:
    """Listens on a port of its own; what it says of somebody is in `claims`."""

    def __init__(self):
        self.keys = [RSAKey.generate_key(2048, {"kid": "first"})]
        self.claims = {"sub": "42", "preferred_username": "m.curie", "groups": ["physics"]}
        self.wrong = {}
        """Claims of the ID token that are not as they should be."""
        self.signing = "RS256"
        self.codes = {}
        self.requests = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def renew_key(self):
        """Sign with another key from now on."""
        self.keys.append(RSAKey.generate_key(2048, {"kid": f"number {len(self.keys) + 1}"}))

    def authorize(self, url):
        """Sign somebody in, as the browser's visit to `url` does, and return code and state."""
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def redeem(self, form, credentials):
        """Return status and body of the token endpoint."""
        asked = self.codes.pop(form.get("code"), None)
        verifier = form.get("code_verifier", "").encode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=")
        if (
            asked is None
            or digest.decode() != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
            or credentials != (CLIENT_ID, CLIENT_SECRET)
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.claims,
            **self.wrong,
        }
        return 200, {"token_type": "Bearer", "access_token": "x", "id_token": self._signed(claims)}

    def _signed(self, claims):
        if self.signing == "HS256":
            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET))
        key = self.keys[-1]
        return jwt.encode({"alg": self.signing, "kid": key.kid}, claims, key)

    def published(self, path):
        """Return what it says about itself."""
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        return KeySet(self.keys).as_dict(private=False)


def _handler(provider):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            provider.requests.append(self.path)
            self._answer(200, provider.published(self.path))

        def do_POST(self):
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            scheme, _, secret = self.headers.get("Authorization", "").partition(" ")
            assert scheme == "Basic"
            credentials = tuple(base64.b64decode(secret).decode().split(":", 1))
            self._answer(*provider.redeem(dict(urllib.parse.parse_qsl(raw)), credentials))

        def _answer(self, status, body):
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            pass

    return Handler
