"""Delivers changes to webhooks: each change is one row, sent until the receiver takes it.

Deliveries are created from the change feed in the transaction that moves its position, so the table
misses none and has none twice. They are sent at least once: after a crash between the answer and
its record, a delivery is sent again.

Each webhook has its own lane: a limit of deliveries under way, and pauses after failures. A
receiver that hangs fills its own lane only.
"""

import hashlib
import queue
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from draw_indexer.models import ClaimedDelivery, DeliveryResult, WebhookAnswer
from draw_indexer.ports.webhooks import DeliveryRepository, DeliverySender
from draw_shared.wording import message

log = structlog.get_logger()

MAX_UNDER_WAY: Final = 4
"""Deliveries to one webhook at a time, from each indexer."""
MAX_REST_SECONDS: Final = 60.0
ROUTED_PAUSES: Final = (5.0, 30.0, 120.0, 600.0)
"""The pauses of what rules of routing send, as of all their deliveries; the last one repeats."""
MAX_JITTER: Final = 0.2
"""The maximum share by which a pause is extended, so that failures do not return together."""
POLL_INTERVAL_SECONDS: Final = 0.25
STOP_TIMEOUT_SECONDS: Final = 3.0
ID_LENGTH: Final = 32
"""Hexadecimal digits of a message's id: 128 bits."""


@dataclass(slots=True)
class Lane:
    """The deliveries under way to one webhook, and its recent failures."""

    under_way: int = 0
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0

    def room(self, now: float) -> int:
        """Return how many deliveries may be sent now."""
        if now < self.rests_until:
            return 0
        most = 1 if self.failures >= MAX_UNDER_WAY else MAX_UNDER_WAY
        return max(0, most - self.under_way)

    def record_failure(self, now: float, pauses: Sequence[float]) -> None:
        """Pause after some failures in a row, longer each time; then one delivery tries."""
        if now < self.rests_until:
            return
        self.failures += 1
        rest = self.failures - MAX_UNDER_WAY
        if rest >= 0 and pauses:
            self.rests_until = now + min(pauses[min(rest, len(pauses) - 1)], MAX_REST_SECONDS)

    def record_success(self) -> None:
        """Send as usual again."""
        self.failures = 0
        self.rests_until = 0.0


class WebhookDeliveryService:
    """Creates and sends deliveries; every indexer calls it repeatedly."""

    def __init__(
        self,
        deliveries: DeliveryRepository,
        sender: DeliverySender,
        clock: Callable[[], float],
        counted: Callable[[str], None],
        pauses: Sequence[float],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._deliveries = deliveries
        self._sender = sender
        self._clock = clock
        self._counted = counted
        self._pauses = pauses
        self._stopping = stopping
        self._lanes: defaultdict[int, Lane] = defaultdict(Lane)
        self._answers: queue.SimpleQueue[DeliveryResult] = queue.SimpleQueue()
        self._unnoted: list[DeliveryResult] = []

    def fan_out(self) -> int:
        """Create the deliveries of every new change, and return how many changes were read.

        It does not wait for deliveries: the caller has a thread for it.

        Raises:
            Transient: the database does not answer.
        """
        read = 0
        while not self._stopping() and (more := self._deliveries.fan_out()):
            read += more
        return read

    def deliver(self) -> None:
        """Send due deliveries until none is due and none under way.

        Raises:
            Transient: the database does not answer. Answers are recorded with the next call;
                after a
                crash their deliveries are sent again.
        """
        while not self._stopping():
            self._record_results()
            now = time.monotonic()
            room = {key: lane.room(now) for key, lane in self._lanes.items()}
            for delivery in self._deliveries.claim(room, MAX_UNDER_WAY):
                self._send(delivery)
            if not self._under_way():
                return
            self._wait(POLL_INTERVAL_SECONDS)
        give_up_at = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self._under_way() and time.monotonic() < give_up_at:
            self._wait(POLL_INTERVAL_SECONDS)
            self._record_results()

    def _under_way(self) -> int:
        return sum(lane.under_way for lane in self._lanes.values())

    def _send(self, delivery: ClaimedDelivery) -> None:
        self._lanes[delivery.webhook_id].under_way += 1

        def answered(answer: WebhookAnswer) -> None:
            self._answers.put(DeliveryResult(delivery, answer, self._retry_delay(delivery, answer)))

        try:
            signed = signed_headers(delivery, int(self._clock()))
        except (ValueError, EmptyWebhookSecretError):
            answered(WebhookAnswer(None, message("the secret cannot be used; set another one")))
            return
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "draw-webhooks/1",
            **signed,
        }
        self._sender.post(delivery.url, delivery.body.encode(), headers, answered)

    def _retry_delay(self, delivery: ClaimedDelivery, answer: WebhookAnswer) -> float | None:
        pauses, place = self._pauses, delivery.attempts - 1
        if delivery.routed:
            pauses, place = ROUTED_PAUSES, min(place, len(ROUTED_PAUSES) - 1)
        given_up = not delivery.routed and (answer.gone or place >= len(pauses))
        if answer.taken or given_up:
            return None
        longer = 1 + random.uniform(0, MAX_JITTER)  # noqa: S311 - spreads load, guards nothing
        return pauses[place] * longer

    def _wait(self, seconds: float) -> None:
        """Wait for an answer, and take all that have arrived."""
        try:
            self._unnoted.append(self._answers.get(timeout=seconds))
            while True:
                self._unnoted.append(self._answers.get_nowait())
        except queue.Empty:
            return

    def _record_results(self) -> None:
        if not self._unnoted:
            return
        disabled = self._deliveries.note(self._unnoted)
        results, self._unnoted = self._unnoted, []
        now = time.monotonic()
        for result in results:
            lane = self._lanes[result.delivery.webhook_id]
            lane.under_way -= 1
            if result.answer.taken:
                lane.record_success()
            else:
                lane.record_failure(now, self._pauses)
            self._report(result)
        for webhook in disabled:
            log.error("webhook.disabled", webhook=webhook.id, reason=webhook.reason)
            self._counted("disabled")

    def _report(self, result: DeliveryResult) -> None:
        if result.answer.taken:
            self._counted("delivered")
            return
        self._counted("dead" if result.dead else "failed")
        log.warning(
            "webhook.not_delivered",
            webhook=result.delivery.webhook_id,
            delivery=result.delivery.id,
            attempt=result.delivery.attempts,
            status=result.answer.status,
            reason=result.answer.error,
            dead=result.dead,
        )


def signed_headers(delivery: ClaimedDelivery, timestamp: int) -> dict[str, str]:
    """Return the headers that identify this message, and prove who sent it and when.

    They are those of the Standard Webhooks specification. The id is derived from the body, which is
    the same with each try and contains the time of the event: no other message has it.

    Raises:
        ValueError: a secret is no base64.
        EmptyWebhookSecretError: a secret is empty.
    """
    message_id = f"msg_{hashlib.sha256(delivery.body.encode()).hexdigest()[:ID_LENGTH]}"
    moment = datetime.fromtimestamp(timestamp, UTC)
    signatures = (
        Webhook(secret).sign(message_id, moment, delivery.body) for secret in delivery.secrets
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
