"""Which configuration is in force, with PostgreSQL there, away, restored, of another release.

Not covered here: what a receiver does with it (`tests/faults/test_outages.py`).
"""

from contextlib import suppress

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from draw_shared.contracts.config_snapshot import AllowedPeer, ConfigSnapshot
from draw_shared.contracts.server_config import CLOSED, EVERYTHING, REFERENCE
from draw_shared.db import config_versions
from draw_shared.db.migrate import seed_config
from draw_shared.db.session import Database, DatabaseUnavailable
from draw_shared.errors import Transient
from draw_shared.runtime.config_watch import NONE_KNOWN, NOT_KEPT, ConfigUnknown, ConfigWatch
from draw_shared.storage.config_file import ConfigFile
from support.kept_config import keep_config
from support.small_disk import fill, mounted

pytestmark = pytest.mark.integration

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
GUARDED = REFERENCE.model_copy(
    update={"security": REFERENCE.security.model_copy(update={"validate_calling_ae": True})}
)
NEW = AllowedPeer("NEW", "192.0.2.9", ("echo", "move", "worklist"), ("STORE_1",), ("ct.example",))
"""With a right that only a later release knows."""


@pytest.fixture
def nowhere():
    """A database that does not answer."""
    database = Database(NOWHERE, connect_timeout_seconds=1)
    yield database
    database.dispose()


@pytest.fixture
def write(database):
    """Return a function that adds a version to the database, and says who may associate."""

    def add(version, document, *allowed):
        with database.session() as session:
            snapshot = ConfigSnapshot(version, document, tuple(map(AllowedPeer, allowed)))
            config_versions.catch_up(session, snapshot, version - 1)
            session.commit()

    return add


def watch(database, root, replica="one"):
    return ConfigWatch(database, ConfigFile(root, replica), catches_up=True)


def kept(root):
    return ConfigFile(root, "reader").newest()


def dump(config):
    return config.model_dump(mode="json")


def test_without_database_and_snapshot_nobody_is_served(nowhere, tmp_path):
    found = watch(nowhere, tmp_path)
    with capture_logs() as logs:
        found.start()
    found.stop(5)
    assert not found.known
    assert found.current.server == CLOSED
    assert not found.current.server.services.enabled
    assert found.trouble == NONE_KNOWN
    with pytest.raises(ConfigUnknown):
        assert found.server
    assert {"config.unknown", "config.database_unavailable"} <= {line["event"] for line in logs}
    assert found.away_seconds > 0


def test_what_one_replica_has_read_another_serves_without_the_database(
    database, write, nowhere, tmp_path
):
    write(1, dump(EVERYTHING))
    write(2, dump(GUARDED), "CT1")
    first = watch(database, tmp_path)
    first.refresh()
    assert (first.trouble, first.away_seconds) == ("", 0)
    second = watch(nowhere, tmp_path, "two")
    assert second.known
    assert second.current == first.current
    assert second.server.security.validate_calling_ae
    assert second.current.allowed_peers == (AllowedPeer("CT1"),)
    with pytest.raises(DatabaseUnavailable):
        second.refresh()
    assert second.current == first.current


def test_who_is_cut_off_follows_what_others_have_read_since(database, write, tmp_path):
    write(1, dump(EVERYTHING), "CT1", "CT2")
    first, second = watch(database, tmp_path), watch(database, tmp_path, "two")
    for each in (first, second):
        each.refresh()
    second._database = Database(NOWHERE, connect_timeout_seconds=1)
    heard = []
    second.on_change(heard.append)
    with database.session() as session:
        session.connection().execute(text("DELETE FROM allowed_ae_titles WHERE ae_title = 'CT2'"))
        session.commit()
    first.refresh()
    for allowed, version in (("CT1",), 1), (("MR",), 2):
        if version == 2:
            write(2, dump(GUARDED), "MR")
            first.refresh()
        with capture_logs(), pytest.raises(DatabaseUnavailable):
            second.refresh()
        assert second.current.version == version
        assert second.current.allowed_peers == tuple(map(AllowedPeer, allowed))
    assert heard == [heard[0], second.current]
    second._database = database
    with capture_logs() as logs:
        second.refresh()
    [back] = [line for line in logs if line["event"] == "config.database_back"]
    assert back["away_seconds"] >= 0


def test_a_document_of_a_later_release_is_served_as_far_as_it_is_known(database, write, tmp_path):
    later = dump(GUARDED)
    later["security"]["quarantine"] = True
    later["network"]["tls"]["client_certificates"] = "attested"
    write(1, later)
    with capture_logs() as logs:
        found = watch(database, tmp_path)
        found.refresh()
        found.refresh()
    assert found.server.security.validate_calling_ae
    assert found.server.network.tls.client_certificates == "required"
    [line] = [line for line in logs if line["event"] == "config.partly_read"]
    assert line["unknown"] == ("security.quarantine",)
    assert line["tightened"] == ("network.tls.client_certificates",)
    assert "security.quarantine" in found.trouble
    assert kept(tmp_path).document == later, "the volume keeps what the database has"


def test_a_document_that_cannot_be_read_leaves_what_is_in_force_and_opens_nothing(
    database, write, nowhere, tmp_path
):
    write(1, dump(GUARDED))
    found = watch(database, tmp_path)
    found.refresh()
    unreadable = dump(EVERYTHING)
    unreadable["network"]["max_pdu_bytes"] = "automatic"
    write(2, unreadable)
    with capture_logs() as logs:
        found.refresh()
        found.refresh()
    [line] = [line for line in logs if line["event"] == "config.unreadable"]
    assert line["fields"] == "network.max_pdu_bytes"
    assert (found.current.version, found.server) == (1, GUARDED)
    ConfigFile(tmp_path, "later release").keep(ConfigSnapshot(2, unreadable))
    for place in (database, nowhere):
        fresh = watch(place, tmp_path, "two")
        with capture_logs(), suppress(Transient):
            fresh.refresh()
        assert not fresh.known, "the version before may be more open"
        assert fresh.current.server == CLOSED


def test_a_damaged_snapshot_is_replaced_while_the_database_is_there(database, write, tmp_path):
    write(1, dump(GUARDED))
    found = watch(database, tmp_path)
    found.refresh()
    path = tmp_path / "config" / "snapshot.json"
    path.write_bytes(path.read_bytes()[:50])
    with capture_logs():
        found.refresh()
        assert path.read_bytes() == path.with_name("snapshot.copy.json").read_bytes()
    assert kept(tmp_path).version == 1


def test_a_database_that_comes_back_older_is_given_what_the_volume_keeps(database, write, tmp_path):
    write(1, dump(EVERYTHING), "CT1", "OLD")
    keep_config(tmp_path, GUARDED, 7, listed=(AllowedPeer("CT1"), NEW))
    watches = [watch(database, tmp_path, name) for name in ("one", "two")]
    with capture_logs() as logs:
        for each in watches:
            each.refresh()
    assert [line["event"] for line in logs].count("config.database_caught_up") == 1
    for each in watches:
        assert (each.current.version, each.server) == (7, GUARDED)
    with database.session() as session:
        found = config_versions.newest(session)
    assert (found.version, found.document) == (7, dump(GUARDED))
    assert found.allowed == (AllowedPeer("CT1"), NEW)


def test_a_service_that_only_reads_the_configuration_takes_it_and_writes_nothing(
    database, write, tmp_path
):
    write(1, dump(EVERYTHING), "CT1", "OLD")
    keep_config(tmp_path, GUARDED, 7, listed=(AllowedPeer("CT1"), NEW))
    reads = ConfigWatch(database, ConfigFile(tmp_path, "one"))
    with capture_logs():
        reads.refresh()
    assert (reads.current.version, reads.server) == (7, GUARDED)
    with database.session() as session:
        assert config_versions.newest(session).version == 1


def test_an_empty_database_does_not_open_a_suite_that_was_configured(database, tmp_path):
    keep_config(tmp_path, GUARDED, 7, listed=(AllowedPeer("CT1"),))
    with database.session() as session:
        seed_config(session, EVERYTHING)
        session.commit()
    found = watch(database, tmp_path)
    heard = []
    found.on_change(heard.append)
    with capture_logs():
        found.refresh()
    assert found.server == GUARDED
    assert heard == [], "the first version was never in force"


def test_a_volume_that_takes_no_snapshot_keeps_nobody_from_the_newest_version(
    database, write, tmp_path
):
    with mounted(tmp_path / "disk", "size=64k") as root:
        write(1, dump(EVERYTHING), "CT1")
        found = watch(database, root)
        found.refresh()
        filler = fill(root)
        write(2, dump(GUARDED), "CT1")
        with capture_logs() as logs:
            found.refresh()
            found.refresh()
        assert [line["event"] for line in logs].count("config.snapshot_not_written") == 1
        assert found.trouble == NOT_KEPT
        assert found.server == GUARDED
        found._database = Database(NOWHERE, connect_timeout_seconds=1)
        with capture_logs(), pytest.raises(DatabaseUnavailable):
            found.refresh()
        assert found.server == GUARDED, "what the volume keeps is older"
        found._database = database
        filler.unlink()
        found.refresh()
        assert kept(root).version == 2
