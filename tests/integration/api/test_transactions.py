"""The transaction log over REST. That operations end up in it is seen in the e2e tests."""

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from draw_indexer.adapters.transaction_queries import PostgresTransactionChain
from draw_scp.adapters.transaction_log import TransactionLog
from draw_scp.models import LostLines
from draw_shared.db import transaction_chain
from support.publishing import FakePublisher
from support.suite import all_pages

pytestmark = pytest.mark.integration

LOG = "/api/v1/transactions"
STORED_AT = datetime(2026, 3, 31, 23, 59, 58, tzinfo=UTC)
INSERT = text(
    "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, calling_ae,"
    " called_ae, peer_address, status, duration_seconds, size_bytes, sop_instance_uid,"
    " study_instance_uid, detail) VALUES (:record_id, :occurred_at, :kind, :outcome, 'scp',"
    " :calling_ae, 'DRAW_SCP', :peer_address, :status, 0.5, 1000, :sop_instance_uid, '1.2.3',"
    " :detail)"
)


@pytest.fixture(scope="module")
def viewer(shared_api):
    """A viewer of twelve operations, four seconds apart, over the end of a month."""
    with shared_api.database.session() as session:
        for number in range(12):
            session.connection().execute(
                INSERT,
                {
                    "record_id": uuid4(),
                    "occurred_at": STORED_AT + timedelta(seconds=4 * (number // 2)),
                    "kind": "c-echo" if number % 3 == 0 else "c-store",
                    "outcome": "failure" if number == 5 else "success",
                    "calling_ae": "=CMD()" if number == 7 else "CT_1",
                    "peer_address": f"192.0.2.{number}",
                    "status": 0xA700 if number == 5 else 0,
                    "sop_instance_uid": f"1.2.3.{number}",
                    "detail": "@SUM(A1)" if number == 7 else None,
                },
            )
        session.commit()
    return shared_api.of_role("viewer")


def found(viewer, **criteria):
    lines = all_pages(viewer, LOG, limit=5, since=STORED_AT.isoformat(), **criteria)
    lines = [line for line in lines if line["sop_instance_uid"]]
    return [int(line["sop_instance_uid"].rpartition(".")[2]) for line in lines]


def test_pages_have_every_line_once_newest_first(viewer):
    assert found(viewer) == list(range(11, -1, -1))


@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        ({"kind": "c-echo"}, [9, 6, 3, 0]),
        ({"kind": ["c-echo", "c-store"], "outcome": "failure"}, [5]),
        ({"ae_title": "=CMD()"}, [7]),
        ({"ae_title": "DRAW_SCP", "peer_address": "192.0.2.4"}, [4]),
        ({"uid": "1.2.3.10"}, [10]),
        ({"uid": "1.2.3"}, list(range(11, -1, -1))),
        ({"status": 0xA700}, [5]),
        ({"until": (STORED_AT + timedelta(seconds=5)).isoformat()}, [3, 2, 1, 0]),
        ({"actor": "nobody"}, []),
    ],
)
def test_criteria_combine(viewer, criteria, numbers):
    assert found(viewer, **criteria) == numbers


def test_one_line_says_how_fast_the_bytes_came(viewer):
    (line,) = viewer.get(LOG, params={"uid": "1.2.3.5"}).json()["items"]
    assert line["rate_bytes_per_second"] == 2000
    assert viewer.get(f"{LOG}/{line['id']}").json() == line
    assert viewer.get(f"{LOG}/999999").status_code == 404


def test_the_last_day_is_told_in_numbers(shared_api, viewer):
    lines = [
        ("c-store", "success", 1), ("c-store", "warning", 700), ("c-store", "failure", 2),
        ("c-find", "success", 30), ("c-move", "failure", 31), ("c-get", "success", 32),
        ("rejection", "rejected", 33), ("c-store", "success", 25 * 60),
    ]  # fmt: skip
    with shared_api.database.session() as session:
        for kind, outcome, minutes in lines:
            values = {
                "record_id": uuid4(),
                "occurred_at": datetime.now(UTC) - timedelta(minutes=minutes),
                "kind": kind,
                "outcome": outcome,
            }
            empty = ("calling_ae", "peer_address", "status", "sop_instance_uid", "detail")
            session.connection().execute(INSERT, values | dict.fromkeys(empty))
        session.commit()
    told = viewer.get("/api/v1/throughput/last-day").raise_for_status().json()
    told.pop("since")
    assert told == {
        "stored": 2, "stored_bytes": 2000, "queried": 1, "retrieved": 2, "rejected": 1,
        "failed": 2, "mean_bytes_per_second": 2000, "peak_bytes_per_second": 2000,
    }  # fmt: skip


def test_an_empty_span_of_time_and_a_foreign_cursor_are_refused(viewer):
    begin, end = STORED_AT.isoformat(), (STORED_AT - timedelta(days=1)).isoformat()
    answer = viewer.get(LOG, params={"since": begin, "until": end})
    assert answer.json()["errors"][0]["field"] == "until"
    assert viewer.get(LOG, params={"cursor": "WzFd"}).status_code == 422


def test_the_export_has_every_line_and_no_formula(shared_api, viewer):
    answer = viewer.get(f"{LOG}/export.csv", params={"since": STORED_AT.isoformat()})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    lines = [line for line in csv.DictReader(io.StringIO(answer.text)) if line["sop_instance_uid"]]
    assert len(lines) == 12
    suspicious = next(line for line in lines if line["sop_instance_uid"] == "1.2.3.7")
    assert (suspicious["calling_ae"], suspicious["detail"]) == ("'=CMD()", "'@SUM(A1)")
    assert ("viewer", "transactions.export", None) in shared_api.actions()


def test_lines_that_were_lost_are_a_line_and_counted(shared_api, viewer, tmp_path):
    publisher = FakePublisher()
    log = TransactionLog(tmp_path, publisher, "one")
    log.lose(LostLines(130, STORED_AT.timestamp(), STORED_AT.timestamp() + 5))
    log.start()
    log.stop(5)
    [message] = publisher.messages
    PostgresTransactionChain(shared_api.database).write(message.records)
    with shared_api.database.session() as session:
        transaction_chain.extend(session.connection())
        session.commit()
    [line] = viewer.get(LOG, params={"action": "transactions.lost"}).json()["items"]
    assert (line["objects"], line["outcome"]) == (130, "failure")
    assert line["detail"].startswith("lines lost: 130 between 20")
    assert shared_api.with_session("admin").post(f"{LOG}/verify").json()["lines_lost"] == 130


def test_a_changed_line_breaks_the_chain(shared_api, viewer):
    admin = shared_api.with_session("admin")
    with shared_api.database.session() as session:
        transaction_chain.extend(session.connection())
        session.commit()
    report = admin.post(f"{LOG}/verify").json()
    assert (report["intact"], report["first_position"]) == (True, 1)
    assert admin.post(f"{LOG}/verify", json=report["head"]).json()["intact"]
    with shared_api.database.session() as session:
        session.connection().execute(
            text(
                "UPDATE transactions SET calling_ae = 'SOMEBODY' WHERE sop_instance_uid = '1.2.3.4'"
            )
        )
        session.commit()
    broken = admin.post(f"{LOG}/verify").json()
    assert (broken["intact"], len(broken["breaks"])) == (False, 1)
