"""What the planner makes of deliveries to webhooks, whose answers the test writes itself.

Not covered: the sending (tests/integration/indexer/test_webhooks.py).
"""

import pytest

from draw_qr_worker.adapters.delivery_queries import WEBHOOK_OFF
from support.planned_deliveries import PlannedDeliveries

pytestmark = pytest.mark.integration


@pytest.fixture
def planned(database):
    return PlannedDeliveries(database)


@pytest.fixture
def hook(planned):
    """A destination that tells a webhook; yields the webhook's number."""
    [row] = planned.execute(
        "INSERT INTO webhooks (url, secret, kinds)"
        " VALUES ('http://127.0.0.1:9/', 'x', '{}') RETURNING id"
    )
    planned.put({"kind": "webhook", "name": "hook", "webhook_id": row["id"]})
    yield row["id"]
    planned.execute("DELETE FROM webhooks WHERE id = :id", id=row["id"])


def test_what_a_webhook_gave_up_is_told_again_until_the_delivery_is_given_up(planned, hook):
    number = planned.deliver("hook", left_seconds=3600)
    planned.plan()
    planned.execute(
        "UPDATE webhook_deliveries SET state = 'dead', attempts = 8, last_error = 'HTTP 503',"
        " finished_at = now()"
    )
    planned.plan()
    assert planned.delivery(number)["state"] != "failed"
    planned.plan()
    told = "SELECT state, attempts, last_error FROM webhook_deliveries"
    assert planned.execute(told) == [{"state": "pending", "attempts": 0, "last_error": ""}]
    planned.execute("UPDATE webhook_deliveries SET attempts = 1, last_error = 'HTTP 503'")
    planned.plan()
    row = planned.delivery(number)
    assert (row["state"], row["error"]) == ("waiting", "HTTP 503")
    planned.execute("UPDATE deliveries SET give_up_at = now() - interval '1 second'")
    planned.plan()
    row = planned.delivery(number)
    assert (row["state"], row["error"]) == ("failed", "HTTP 503")
    assert planned.execute("SELECT state FROM webhook_deliveries") == [{"state": "dead"}]


def test_what_is_for_a_webhook_that_is_turned_off_waits_and_says_so(planned, hook):
    number = planned.deliver("hook", left_seconds=3600)
    planned.plan()
    planned.execute("UPDATE webhook_deliveries SET attempts = 1, last_error = 'Gone'")
    planned.execute("UPDATE webhooks SET active = false, disabled_reason = 'gone'")
    planned.plan()
    row = planned.delivery(number)
    assert (row["state"], row["error"]) == ("waiting", WEBHOOK_OFF)
    planned.execute("UPDATE webhooks SET active = true")
    planned.execute("UPDATE webhook_deliveries SET state = 'delivered'")
    planned.plan()
    assert planned.delivery(number)["state"] == "delivered"
