"""Headers of webhook deliveries as Standard Webhooks has them; lanes, pauses and outages."""

import base64
import hashlib
import hmac
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from draw_indexer.models import ClaimedDelivery
from draw_indexer.services.webhooks import (
    MAX_REST_SECONDS,
    MAX_UNDER_WAY,
    Lane,
    WebhookDeliveryService,
    signed_headers,
)
from draw_shared.errors import Transient
from support.webhook_queue import FlakyQueue, PromptSender

KEYS = [bytes(range(24)), bytes(range(100, 132))]
SECRETS = [f"whsec_{base64.b64encode(key).decode()}" for key in KEYS]
BODY = '{"sequence": 1, "name": "ü"}'


def delivery(*secrets, body=BODY, attempts=1, routed=False):
    return ClaimedDelivery(7, 3, "http://handler.example/", secrets, body, attempts, routed)


def test_the_signature_is_that_of_id_time_and_body():
    headers = signed_headers(delivery(SECRETS[0]), 1_700_000_000)
    assert headers["webhook-timestamp"] == "1700000000"
    signed = f"{headers['webhook-id']}.1700000000.{BODY}".encode()
    expected = base64.b64encode(hmac.new(KEYS[0], signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_library_accepts_it_and_nothing_else():
    now = int(time.time())
    headers = signed_headers(delivery(SECRETS[0]), now)
    assert Webhook(SECRETS[0]).verify(BODY.encode(), headers) == {"sequence": 1, "name": "ü"}
    for secret, body, sent in (
        (SECRETS[1], BODY, headers),
        (SECRETS[0], BODY.replace("1", "2"), headers),
        (SECRETS[0], BODY, headers | {"webhook-id": "msg_1"}),
        (SECRETS[0], BODY, headers | {"webhook-timestamp": str(now - 1)}),
        (SECRETS[0], BODY, signed_headers(delivery(SECRETS[0]), now - 400)),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, sent)


def test_a_secret_that_was_replaced_signs_as_well():
    headers = signed_headers(delivery(*SECRETS), int(time.time()))
    assert len(headers["webhook-signature"].split()) == 2
    for secret in SECRETS:
        Webhook(secret).verify(BODY, headers)


def test_each_try_has_the_same_id_and_each_message_another():
    first = signed_headers(delivery(SECRETS[0]), 1_700_000_000)["webhook-id"]
    again = signed_headers(delivery(SECRETS[1], attempts=5), 1_700_009_999)["webhook-id"]
    other = signed_headers(delivery(SECRETS[0], body='{"sequence": 2}'), 1_700_000_000)
    assert first == again != other["webhook-id"]
    assert first.startswith("msg_")
    assert "." not in first


def test_answers_that_cannot_be_noted_are_noted_later_and_nothing_is_sent_twice():
    queue, sender = (
        FlakyQueue([delivery(SECRETS[0]) for _ in range(10)], refusals=2),
        PromptSender(),
    )
    dispatcher = WebhookDeliveryService(queue, sender, time.time, lambda _: None, (5,))
    for _ in range(2):
        with pytest.raises(Transient):
            dispatcher.deliver()
        assert len(sender.sent) == MAX_UNDER_WAY, "there is no room before it is noted"
    dispatcher.deliver()
    assert len(sender.sent) == len(queue.noted) == 10


def test_a_pause_is_that_of_the_attempt_or_a_little_longer():
    pauses = (5, 30)
    deliveries = [delivery(SECRETS[0], attempts=number) for number in (1, 2, 3)]
    queue = FlakyQueue(deliveries, refusals=0)
    WebhookDeliveryService(queue, PromptSender(500), time.time, lambda _: None, pauses).deliver()
    first, second, last = (result.again_in for result in queue.noted)
    assert 5 <= first <= 6
    assert 30 <= second <= 36
    assert last is None


@pytest.mark.parametrize("status", [500, 410])
def test_what_rules_send_is_tried_whatever_the_pauses_of_webhooks_are(status):
    numbers = (1, 2, 4, 1000)
    queue = FlakyQueue(
        [delivery(SECRETS[0], attempts=number, routed=True) for number in numbers], refusals=0
    )
    sender = PromptSender(status)
    WebhookDeliveryService(queue, sender, time.time, lambda _: None, (1,)).deliver()
    pauses = [result.again_in for result in queue.noted]
    for pause, least in zip(pauses, (5, 30, 600, 600), strict=True):
        assert least <= pause <= least * 1.2
    assert not any(result.dead for result in queue.noted)


@pytest.mark.parametrize("stragglers", [0, 3])
def test_a_lane_rests_longer_each_time_and_tries_with_one(stragglers):
    lane, pauses = Lane(), (5, 30, 600)
    for _ in range(MAX_UNDER_WAY + stragglers):
        assert lane.room(0) in {0, MAX_UNDER_WAY}
        lane.record_failure(0, pauses)
    assert (lane.room(4), lane.room(6)) == (0, 1)
    lane.record_failure(6, pauses)
    assert (lane.room(35), lane.room(37)) == (0, 1)
    for now in (40, 200):
        lane.record_failure(now, pauses)
        assert lane.room(now + MAX_REST_SECONDS + 1) == 1, "a minute at most"
    lane.record_success()
    assert lane.room(200) == MAX_UNDER_WAY
