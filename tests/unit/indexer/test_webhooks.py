"""What webhook deliveries are signed with: the headers of Standard Webhooks."""

import base64
import hashlib
import hmac
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from draw_indexer.models import WebhookDelivery
from draw_indexer.services.webhooks import signed_headers

KEYS = [bytes(range(24)), bytes(range(100, 132))]
SECRETS = [f"whsec_{base64.b64encode(key).decode()}" for key in KEYS]
BODY = '{"sequence": 1, "name": "ü"}'


def delivery(*secrets, body=BODY, attempts=1):
    return WebhookDelivery(7, 3, "http://handler.example/", secrets, body, attempts)


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
