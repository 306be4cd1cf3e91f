"""Statistics of received images: each line counts once, also delivered or counted again.

How the page shows them is covered in e2e/test_page_devices.
"""

import csv
import io
import random
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from draw_api.services.sop_class_modalities import modality_of
from draw_indexer.adapters.transaction_queries import PostgresTransactionChain
from draw_shared.contracts.transaction import TransactionRecord

pytestmark = pytest.mark.integration

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
TODAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
SUMS = "SELECT * FROM store_statistics ORDER BY 1, 2, 3, 4"


def store(number=0, **more):
    line = {
        "record_id": uuid4(), "occurred_at": TODAY - timedelta(days=number), "kind": "c-store",
        "outcome": "success", "replica": "scp-1", "calling_ae": "CT_1", "sop_class_uid": CT,
        "size_bytes": 1000, "duration_seconds": 0.01,
    }  # fmt: skip
    return TransactionRecord(**(line | more))


@pytest.fixture
def log(api):
    return PostgresTransactionChain(api.database)


def sums(api):
    with api.database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(SUMS))]


def test_a_line_counts_once_however_often_it_is_delivered(api, log):
    lines = [
        store(),
        store(1, calling_ae="=1+1", sop_class_uid=MR, outcome="warning"),
        store(outcome="failure", size_bytes=77),
        store(outcome="cancelled"),
        store(kind="c-echo"),
        store(calling_ae=None, sop_class_uid=None, duration_seconds=None),
        store(50),
    ]
    log.write(lines)
    log.write([*lines[:3], store()])
    log.write(lines)
    client = api.signed_in("admin")
    found = client.get("/api/v1/statistics").json()
    assert (found["total"]["received"], found["total"]["failed"]) == (4, 2)
    assert found["total"]["size_bytes"] == 4000
    assert {one["calling_ae"]: one["received"] for one in found["senders"]} == {
        "CT_1": 2, "=1+1": 1, "": 1,
    }  # fmt: skip
    assert {one["modality"]: one["received"] for one in found["modalities"]} == {
        "CT": 2, "MR": 1, "OT": 1,
    }  # fmt: skip
    assert [one["received"] for one in found["days"]] == [1, 3]
    assert found["counting"] is False
    of_ct = client.get("/api/v1/statistics", params={"modality": "CT", "days": 90}).json()
    assert (of_ct["total"]["received"], of_ct["total"]["failed"]) == (3, 2)
    of_one = client.get("/api/v1/statistics", params={"calling_ae": "=1+1"}).json()
    assert [one["modality"] for one in of_one["sop_classes"]] == ["MR"]
    rows = list(csv.DictReader(io.StringIO(client.get("/api/v1/statistics/export.csv").text)))
    assert {(row["calling_ae"], row["received"], row["failed"]) for row in rows} == {
        ("'=1+1", "1", "0"), ("CT_1", "2", "2"), ("", "1", "0"),
    }  # fmt: skip


def test_days_from_before_are_counted_once_and_replace_what_was_counted_of_them(api, log):
    lines = [store(number % 3, size_bytes=number) for number in range(30)]
    log.write(lines)
    counted = sums(api)
    with api.database.engine.begin() as connection:
        # As after the migration of a log that has lines already, of which some came since.
        connection.execute(text("UPDATE store_statistics SET objects = 1, size_bytes = 0"))
        connection.execute(
            text(
                "INSERT INTO store_statistics_backlog"
                " SELECT :today - n FROM generate_series(0, 4) n"
            ),
            {"today": TODAY.date()},
        )
    client = api.signed_in("admin")
    assert client.get("/api/v1/statistics").json()["counting"] is True
    days = [log.count_next_day() for _ in range(6)]
    assert days == [TODAY.date() - timedelta(days=number) for number in range(5)] + [None]
    assert sums(api) == counted
    log.write([store()])
    assert client.get("/api/v1/statistics").json()["total"]["received"] == 31


def test_store_times_are_within_a_fifth(api, log):
    draw = random.Random(7)
    times = sorted(draw.lognormvariate(-4, 1.2) for _ in range(2000))
    log.write([store(duration_seconds=seconds) for seconds in times])
    total = api.signed_in("admin").get("/api/v1/statistics").json()["total"]
    assert total["p50_seconds"] == pytest.approx(times[1000], rel=0.2)
    assert total["p95_seconds"] == pytest.approx(times[1900], rel=0.2)


def test_a_span_is_a_span(api):
    client = api.signed_in("admin")
    for wrong in (
        {"first_day": "2026-02-02", "last_day": "2026-02-01"},
        {"first_day": "2020-01-01", "last_day": "2026-01-01"},
        {"first_day": "0001-01-01"},
        {"days": 0},
        {"calling_ae": "\0"},
    ):
        for path in ("/api/v1/statistics", "/api/v1/statistics/export.csv"):
            assert client.get(path, params=wrong).status_code == 422, wrong
    assert client.get("/api/v1/statistics", params={"last_day": "0001-01-02"}).status_code == 422
    for odd in ("days=x&first=x&last=0001-01-01", "first=9999-12-31", "sender=%00&modality=%C3%A9"):
        assert client.get(f"/statistics?{odd}").status_code in {200, 422}, odd


def test_sop_classes_tell_their_modality():
    told = {
        CT: "CT", MR: "MR",
        "1.2.840.10008.5.1.4.1.1.128": "PT",
        "1.2.840.10008.5.1.4.1.1.6.1": "US",
        "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
        "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
        "1.2.840.10008.5.1.4.1.1.481.5": "RTPLAN",
        "1.2.840.10008.5.1.4.1.1.481.8": "RTPLAN",
        "1.2.840.10008.5.1.4.1.1.7": "OT",
        "1.2.840.10008.5.1.4.1.1.88.67": "SR",
        "1.2.840.10008.5.1.4.1.1.88.33": "SR",
        "1.2.840.10008.5.1.4.1.1.1.2": "MG",
        "1.2.840.10008.5.1.4.1.1.13.1.3": "MG",
        "1.2.840.10008.5.1.4.1.1.12.1": "XA",
        "1.2.840.10008.5.1.4.1.1.20": "NM",
        "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
        "1.2.840.10008.5.1.4.1.1.11.1": "PR",
        "1.2.840.10008.5.1.4.1.1.104.1": "DOC",
        "1.2.3": "OT", "": "OT",
    }  # fmt: skip
    assert {uid: modality_of(uid) for uid in told} == told


def test_a_last_day_alone_is_used_and_an_unclear_day_is_said(shared_api):
    client = shared_api.of_role("viewer")
    page = client.get("/statistics?last=2024-05-05").text
    assert 'name="last" value="2024-05-05"' in page
    assert 'name="first" value="2024-04-06"' in page
    assert "First day: must be a date" in client.get("/statistics?first=x").text
    assert "Last day: must be a date" in client.get("/statistics?first=2024-01-01&last=x").text
    assert client.get("/statistics?last=0001-01-01").status_code == 200
