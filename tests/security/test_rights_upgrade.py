"""What the upgrade to rights makes of an installation where every AE title could read."""

import json

import pytest
from sqlalchemy import text

from draw_shared.contracts.config_snapshot import AllowedPeer
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.db import config_versions
from draw_shared.db.migrate import upgrade
from draw_shared.db.session import Database
from support import service_finder

pytestmark = [pytest.mark.integration, pytest.mark.security]

BEFORE = "0016"
LINE = text(
    "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, calling_ae,"
    " peer_address) VALUES (gen_random_uuid(), now() - CAST(:age AS interval), :kind, :outcome,"
    " 'scp', :calling, :address)"
)
CONFIG = text(
    "INSERT INTO server_config (version, document, created_by)"
    " VALUES (1, CAST(:document AS jsonb), 'system')"
)
OLD_ROW = text("INSERT INTO allowed_ae_titles (ae_title, expected_ip) VALUES ('PACS', '')")
SWITCHED_OFF = text("INSERT INTO allowed_ae_titles (ae_title, active) VALUES ('GONE', false)")


@pytest.fixture
def upgraded(postgres_url):
    """Return a function that upgrades a database with these lines and returns its list."""
    with service_finder.cloned_database(postgres_url, "template1") as url:

        def listed(*lines, validate_calling_ae=False):
            upgrade(url, BEFORE)
            document = EVERYTHING.model_dump(mode="json")
            document["security"] = {"validate_calling_ae": validate_calling_ae}
            database = Database(url)
            try:
                with database.session() as session:
                    connection = session.connection()
                    connection.execute(CONFIG, {"document": json.dumps(document)})
                    connection.execute(OLD_ROW)
                    connection.execute(SWITCHED_OFF)
                    for line in lines:
                        connection.execute(LINE, line)
                    session.commit()
                upgrade(url)
                with database.session() as session:
                    return {one.ae_title: one for one in config_versions.newest(session).allowed}
            finally:
                database.dispose()

        yield listed


def line(calling, kind, address="192.0.2.7", outcome="success", age="1 day"):
    return {"calling": calling, "kind": kind, "address": address, "outcome": outcome, "age": age}


def test_who_has_read_stays_a_reader_and_nobody_else_becomes_one(upgraded):
    found = upgraded(
        line("VIEWER", "c-find"),
        line("VIEWER", "c-move", "192.0.2.8", "warning"),
        line("AI", "c-get"),
        line("CT_1", "c-store"),
        line("DENIED", "c-find", outcome="failure"),
        line("LONG_AGO", "c-find", age="100 days"),
        line("GONE", "c-find"),
        line("BACK\\SLASH", "c-find"),
        line("LOCAL", "c-find", "127.0.0.1"),
    )
    assert found == {
        "PACS": AllowedPeer("PACS"),
        "VIEWER": AllowedPeer("VIEWER", rights=("echo", "store", "query", "move")),
        "AI": AllowedPeer("AI", rights=("echo", "store", "retrieve")),
        "LOCAL": AllowedPeer("LOCAL", "127.0.0.1", rights=("echo", "store", "query")),
    }


def test_where_titles_were_validated_the_list_stays_as_it_was(upgraded):
    assert set(upgraded(line("TAKEN_OFF", "c-find"), validate_calling_ae=True)) == {"PACS"}
