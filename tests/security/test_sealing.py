"""Indexers seal what they write, and notice together what was cut off or restored.

Not covered here: every way to tamper (test_transaction_log.py), the services as processes.
"""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from structlog.testing import capture_logs

from draw_api import admin
from draw_api.adapters.transaction_queries import (
    PostgresTransactionRepository as CheckedTransactions,
)
from draw_indexer.adapters.transaction_queries import PostgresTransactionChain, Seals
from draw_indexer.settings import IndexerSettings
from draw_shared.contracts.transaction import TransactionRecord
from draw_shared.storage.sealed_head import SealedHeadFile
from support import arrivals
from support.sealed_log import KEYS, managed

pytestmark = [pytest.mark.integration, pytest.mark.security]

KEY = KEYS.keys[0].decode()


@pytest.fixture(scope="module")
def own_database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


@pytest.fixture
def database(own_database):
    arrivals.empty(own_database)
    return own_database


class Indexer:
    """What an indexer does to the log, as a process that has just started."""

    def __init__(self, database, folder, name="one", keyring=KEYS):
        self.found = []
        file = SealedHeadFile(folder / "sealed-head.json", name)
        self.log = PostgresTransactionChain(database, Seals(keyring, file, name, self.found.append))

    def write(self, lines=1):
        """Write lines as the broker brings them, and let two seconds pass."""
        now = datetime.now(UTC)
        record = {"occurred_at": now, "kind": "c-echo", "outcome": "success", "replica": "scp"}
        self.log.write([TransactionRecord(record_id=uuid4(), **record) for _ in range(lines)])
        self.log.extend_chain()
        return self


def check(database, folder, keyring=KEYS):
    with database.session() as session:
        log = CheckedTransactions(session, keyring, folder / "sealed-head.json")
        return log.verify(None)


def execute(database, statement, **values):
    with database.session() as session:
        session.connection().execute(text(statement), values)
        session.commit()


def test_the_newest_sealed_line_is_kept_outside_the_database(database, tmp_path):
    Indexer(database, tmp_path).write(3)
    report = check(database, tmp_path)
    kept = json.loads((tmp_path / "sealed-head.json").read_text())
    assert (report.intact, report.sealed, report.lines) == (True, True, 4)
    assert (kept["position"], kept["chain_hash"]) == (4, report.head.chain_hash)
    assert (tmp_path / "sealed-head.json").stat().st_mode & 0o007 == 0


def test_several_indexers_seal_one_log(database, tmp_path):
    one, two = Indexer(database, tmp_path), Indexer(database, tmp_path, "two")
    for _ in range(3):
        one.write(2)
        two.write()
    assert one.found == two.found == []
    assert check(database, tmp_path).intact


def test_a_database_of_yesterday_is_named_by_the_indexer_that_finds_it(database, tmp_path):
    Indexer(database, tmp_path).write(4)
    Indexer(database, tmp_path).write(2)
    execute(database, "DELETE FROM transactions WHERE chain_position > 5")
    [broken] = check(database, tmp_path).breaks
    assert broken.reason.startswith("the log ends at line 5, before the head that was kept")
    with capture_logs() as said:
        restarted = Indexer(database, tmp_path).write()
    assert restarted.found == ["transactions.cut"]
    assert [line["action"] for line in said if line["event"] == "transactions.found"] == [
        "transactions.cut"
    ]
    report = check(database, tmp_path)
    assert ([one.action for one in report.findings], report.breaks) == (["transactions.cut"], [])
    assert not report.intact
    # It is said once: what is kept is what there is now.
    assert restarted.write().found == ["transactions.cut"]
    assert Indexer(database, tmp_path).write().found == []


def test_what_another_indexer_sealed_is_missed_while_running(database, tmp_path):
    one = Indexer(database, tmp_path).write()
    Indexer(database, tmp_path, "two").write(3)
    one.log.extend_chain()
    execute(database, "DELETE FROM transactions WHERE chain_position > 3")
    assert one.write().found == ["transactions.cut"]


def test_a_line_by_hand_is_counted_and_named(database, tmp_path):
    indexer = Indexer(database, tmp_path).write()
    with database.session() as session:
        managed(session.connection(), "user.create", keyring=None)
        session.commit()
    assert indexer.write().found == ["transactions.not_attested"]
    assert not check(database, tmp_path).intact


def test_a_new_key_checks_before_it_seals(database, tmp_path):
    new = KEYS.read("n" * 64)
    old_first, new_first = (KEYS.read(f"{a}\n{b}") for a, b in ((KEY, "n" * 64), ("n" * 64, KEY)))
    Indexer(database, tmp_path, keyring=old_first).write()
    Indexer(database, tmp_path, "two", keyring=new_first).write()
    last = Indexer(database, tmp_path, keyring=old_first).write()
    assert last.found == []
    assert check(database, tmp_path, new_first).intact
    assert "by a key that is not here" in check(database, tmp_path, new).breaks[0].reason


def test_without_a_key_everything_goes_on_unsealed(database, tmp_path):
    log = PostgresTransactionChain(database)
    now = datetime.now(UTC)
    record = {"occurred_at": now, "kind": "c-echo", "outcome": "success", "replica": "scp"}
    assert log.write([TransactionRecord(record_id=uuid4(), **record)]) == 1
    report = check(database, tmp_path, None)
    assert (report.intact, report.sealed) == (True, False)


def test_a_full_volume_keeps_no_line_from_being_written(database, tmp_path):
    folder = tmp_path / "none"
    with capture_logs() as said:
        Indexer(database, folder).write(2)
    assert "transactions.head_not_kept" in {line["event"] for line in said}
    folder.mkdir()
    Indexer(database, folder).write()
    assert check(database, folder).lines == 4


# --- the key and the command -----------------------------------------------------------


@pytest.fixture
def environment(database, monkeypatch, tmp_path):
    url = database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DRAW_DATABASE_URL", url.replace("+psycopg", ""))
    monkeypatch.setenv("DRAW_BROKER_URL", "amqp://guest:guest@127.0.0.1:1/none")
    monkeypatch.setenv("DRAW_STORAGE_ROOT", str(tmp_path))
    monkeypatch.setenv("DRAW_TRANSACTION_KEYS", KEY)
    return monkeypatch


def test_a_key_that_is_too_short_or_missing_is_said_at_the_start(environment, tmp_path):
    environment.setenv("DRAW_TRANSACTION_KEYS", "short")
    with pytest.raises(ValidationError, match=r"DRAW_TRANSACTION_KEYS: a key .* 32 characters"):
        IndexerSettings.read()
    environment.setenv("DRAW_TRANSACTION_KEYS_FILE", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="none"):
        IndexerSettings.read()


def test_an_administrator_verifies_and_accepts_at_a_shell(environment, database, tmp_path, capsys):
    environment.setattr(admin.logging, "configure", lambda *_, **__: None)
    indexer = Indexer(database, tmp_path).write()
    assert admin.main(["verify-transactions"]) == 0
    assert admin.main(["verify-transactions", "--accept", "nothing to see"]) == 1
    assert "nothing to accept" in capsys.readouterr().err
    execute(database, "DELETE FROM transactions WHERE chain_position = 2")
    indexer.write()
    assert admin.main(["verify-transactions"]) == 1
    assert admin.main(["verify-transactions", "--accept", "the disk was replaced"]) == 1
    indexer.log.extend_chain()
    capsys.readouterr()
    assert admin.main(["verify-transactions"]) == 0
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["accepted"]
    # Its own lines have the key's attestation.
    indexer.log.extend_chain()
    assert indexer.found == ["transactions.cut"]
