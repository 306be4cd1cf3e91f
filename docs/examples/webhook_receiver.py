"""Receives webhook deliveries, checks that they are genuine and prints each change once.

    DRAW_WEBHOOK_SECRET=whsec_... python webhook_receiver.py --port 9000

Needs Python 3.11 and the package standardwebhooks; Standard Webhooks has libraries for other
languages. A receiver that works for longer than a few seconds should write down what came,
answer, and work afterwards: an answer counts within 10 seconds.
"""

import argparse
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY_BYTES = 65_536


class Receiver(ThreadingHTTPServer):
    """The server, with what it has to remember."""

    def __init__(self, port: int, secret: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.webhook = Webhook(secret)
        self.seen: set[str] = set()
        """Ids of messages that were handled; a real receiver keeps them in its database."""


class Handler(BaseHTTPRequestHandler):
    """One delivery."""

    server: Receiver

    def do_POST(self) -> None:
        """Answer 204 to what is genuine, also when it comes again, and 401 to anything else."""
        size = min(int(self.headers.get("Content-Length", 0)), MAX_BODY_BYTES)
        body = self.rfile.read(size)
        try:
            change = self.server.webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            self._answer(401)
            return
        self._handle(self.headers["webhook-id"], change)
        self._answer(204)

    def log_message(self, *_: object) -> None:
        """Print changes only."""

    def _handle(self, message_id: str, change: dict[str, Any]) -> None:
        if message_id not in self.server.seen:
            print(json.dumps(change), flush=True)
            self.server.seen.add(message_id)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    """Receive until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Receives webhook deliveries of DRAW DICOM.")
    parser.add_argument("--port", type=int, default=9000, help="0: any that is free")
    port = parser.parse_args().port
    server = Receiver(port, os.environ["DRAW_WEBHOOK_SECRET"])
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
