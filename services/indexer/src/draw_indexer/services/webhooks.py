"""Tells webhooks of changes: each change once in the table, then sent until it is taken.

Deliveries are made from the change feed in the transaction that moves its position, so that
none is missing or double in the table. They are sent at least once: after a crash between
the answer and the note of it, again. A receiver tells repetitions by `sequence`.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from draw_indexer.models import WebhookAnswer, WebhookDelivery

log = structlog.get_logger()

SENDERS: Final = 4
SIGNATURE: Final = "X-Draw-Signature"


class Deliveries(Protocol):
    """The table of deliveries."""

    def fan_out(self) -> int:
        """Make deliveries of changes that are new, and return how many changes were read."""

    def claim(self) -> Sequence[WebhookDelivery]:
        """Return deliveries that are due, a few of each webhook, and nobody else's for a while."""

    def delivered(self, delivery: WebhookDelivery, answer: WebhookAnswer) -> None:
        """Note that the receiver has it."""

    def failed(
        self, delivery: WebhookDelivery, answer: WebhookAnswer, again_in: float | None
    ) -> None:
        """Note that it was not taken; None: it is not tried again."""


class Sender(Protocol):
    """The way to the receivers."""

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> WebhookAnswer:
        """Send and return what came of it; never raises for what the receiver does."""


class Webhooks:
    """The use case; called again and again, by every indexer."""

    def __init__(
        self,
        deliveries: Deliveries,
        sender: Sender,
        clock: Callable[[], float],
        sent: Callable[[str], None],
        ladder: Sequence[float],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._deliveries = deliveries
        self._sender = sender
        self._clock = clock
        self._sent = sent
        self._ladder = ladder
        self._stopping = stopping

    def deliver(self) -> None:
        """Send everything that is due.

        Raises:
            Transient: the database does not answer; what was not noted is sent again.
        """
        while self._deliveries.fan_out() and not self._stopping():
            pass
        with ThreadPoolExecutor(SENDERS, thread_name_prefix="webhook") as senders:
            while not self._stopping() and (due := self._deliveries.claim()):
                for delivery, answer in zip(due, senders.map(self._post, due), strict=True):
                    self._note(delivery, answer)

    def _post(self, delivery: WebhookDelivery) -> WebhookAnswer:
        body = delivery.body.encode()
        timestamp = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "draw-webhooks/1",
            "X-Draw-Event": delivery.kind,
            "X-Draw-Delivery": str(delivery.id),
            SIGNATURE: signature(delivery.secret, timestamp, body),
        }
        return self._sender.post(delivery.url, body, headers)

    def _note(self, delivery: WebhookDelivery, answer: WebhookAnswer) -> None:
        if answer.taken:
            self._deliveries.delivered(delivery, answer)
            self._sent("delivered")
            return
        over = answer.status == HTTPStatus.GONE or delivery.attempts > len(self._ladder)
        again_in = None if over else self._ladder[delivery.attempts - 1]
        self._deliveries.failed(delivery, answer, again_in)
        self._sent("dead" if over else "failed")
        log.warning(
            "webhook.not_delivered",
            delivery=delivery.id,
            attempt=delivery.attempts,
            status=answer.status,
            reason=answer.error,
            dead=over,
        )


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the header that proves who sent `body` and when: HMAC-SHA256 of `<t>.<body>`."""
    digest = hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"
