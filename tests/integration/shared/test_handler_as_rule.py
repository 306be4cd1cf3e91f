"""The handler of the configuration becomes a rule: what was handed over stays so, once.

Not covered: the services of both releases meanwhile (tests/e2e/test_upgrades.py), and how a folder
and a task are delivered (tests/unit/qr_worker).
"""

import hashlib
import json
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

import draw_shared.db.migrations
from draw_indexer.adapters.former_handler import FormerHandler
from draw_indexer.adapters.routing_queries import PostgresRoutingFeedRepository
from draw_indexer.services.routing_postponed import PostponedDecisionService
from draw_shared.contracts.config_reading import read_config
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.db.migrate import MigrationRefused, upgrade
from draw_shared.db.revisions import head_revision
from draw_shared.db.session import Database
from draw_shared.routing.destinations import CeleryDestination, FolderDestination
from draw_shared.routing.document import RoutingDocument, RoutingRule
from support import service_finder
from support.routed import Routed
from support.suite import rows

pytestmark = pytest.mark.integration

[FILE] = Path(draw_shared.db.migrations.__path__[0], "versions").glob("*_handler_as_rule.py")
AFTER = head_revision()
BEFORE = f"{int(FILE.name[:4]) - 1:04d}"
OFF = {
    "auto_import": False,
    "copy_to_folder": False,
    "folder": "",
    "trigger_processing": False,
    "celery_task": "",
    "celery_queue": "celery",
}
FOLDER = {"auto_import": True, "folder": "/srv/handler"}
TASK = {"trigger_processing": True, "celery_task": "chain.start", "celery_queue": "chains"}
LINKED = {"path": "/srv/handler", "files": "link", "ready_marker": ""}
NAME = "DICOM handler"
OWN = {"name": "own", "destinations": ["own"]}
OWN_FOLDER = {"kind": "folder", "name": "own", "path": "/srv/own"}
SERIES = """
    WITH p AS (INSERT INTO patients (patient_id) VALUES (:number) RETURNING id),
    s AS (INSERT INTO studies (patient_pk, study_instance_uid) SELECT id, '1.2.' || :number
        FROM p RETURNING id)
    INSERT INTO series (study_pk, series_instance_uid, instance_count, stable_at)
    SELECT id, '1.2.' || :number || '.1', 3, now() FROM s
"""
COMPLETE = """
    INSERT INTO changes (kind, study_instance_uid, series_instance_uid)
    VALUES (:kind, '1.2.' || :number, '1.2.' || :number || '.1') RETURNING sequence
"""
DELIVERIES = """
    SELECT c.sequence, d.destination, d.state, d.instance_count, d.delivered_count,
        d.finished_at IS NOT NULL AS ended, d.give_up_at > now() + interval '89 days' AS patient
    FROM deliveries d JOIN routing_decisions c ON c.id = d.decision_id ORDER BY d.id
"""


class Archive:
    """A database of the release before, with series that are complete."""

    def __init__(self, url):
        self.url = url
        self.database = Database(url)
        self.sequences = []

    def run(self, statement, **values):
        with self.database.session() as session:
            found = session.connection().execute(text(statement), values)
            value = found.scalar() if found.returns_rows else None
            session.commit()
        return value

    def configure(self, **handler):
        """Put a configuration in force as the release before wrote it."""
        document = EVERYTHING.model_dump(mode="json") | {"handler": OFF | handler}
        self.run(
            "INSERT INTO server_config (version, document, created_by)"
            " SELECT coalesce(max(version), 0) + 1, CAST(:document AS jsonb), 'admin'"
            " FROM server_config",
            document=json.dumps(document),
        )

    def complete(self, count=1):
        """Let so many series be complete, each with a change of another kind before it."""
        for _ in range(count):
            number = str(len(self.sequences) + 1)
            self.run(SERIES, number=number)
            self.run(COMPLETE, number=number, kind="instance.stored")
            self.sequences.append(self.run(COMPLETE, number=number, kind="series.stable"))

    def stand(self, consumer, sequence):
        """Put a consumer behind a change of the feed."""
        self.run(
            "INSERT INTO feed_positions (consumer, sequence) VALUES (:consumer, :sequence)",
            consumer=consumer,
            sequence=sequence,
        )

    def put(self, *rules, destinations=(OWN_FOLDER,)):
        """Put rules in force, as somebody has written them before."""
        document = RoutingDocument.read({"rules": list(rules), "destinations": list(destinations)})
        self.run(
            "INSERT INTO routing_documents (version, document)"
            " SELECT coalesce(max(version), 0) + 1, CAST(:document AS jsonb)"
            " FROM routing_documents",
            document=json.dumps(document.stored()),
        )

    def migrate(self, **more):
        assert upgrade(self.url, AFTER, **more) == AFTER

    def config(self):
        """Return the configuration in force as it is stored."""
        return rows(self.url, "SELECT * FROM server_config ORDER BY version DESC LIMIT 1")[0]

    def document(self):
        """Return the rules in force, as whoever saves them would have them checked."""
        found = rows(self.url, "SELECT document FROM routing_documents ORDER BY version DESC")
        return RoutingDocument.read(found[0]["document"]) if found else None

    def position(self, consumer):
        known = "SELECT sequence FROM feed_positions WHERE consumer = :consumer"
        found = rows(self.url, known, consumer=consumer)
        return found[0]["sequence"] if found else None

    def decide(self):
        """Let an indexer of this release decide, and return what is to be delivered, in order."""
        Routed(self.database, Path("/nowhere")).decide()
        return rows(self.url, DELIVERIES)


@pytest.fixture(scope="module")
def schema_before(postgres_url):
    """Name of an empty database of the release before."""
    with service_finder.cloned_database(postgres_url, "template1") as url:
        upgrade(url, BEFORE)
        yield make_url(url).database


@pytest.fixture
def archive(postgres_url, schema_before):
    with service_finder.cloned_database(postgres_url, schema_before) as url:
        made = Archive(url)
        yield made
        made.database.dispose()


@pytest.mark.parametrize(
    ("handler", "wanted"),
    [
        (FOLDER, FolderDestination(kind="folder", name=NAME, **LINKED, give_up_after_days=90)),
        (
            FOLDER | {"copy_to_folder": True, "folder": "//srv/./a/../handler/"},
            FolderDestination(
                kind="folder", name=NAME, path="/srv/handler", files="copy", give_up_after_days=90
            ),
        ),
        (
            TASK,
            CeleryDestination(
                kind="celery", name=NAME, task="chain.start", queue="chains", give_up_after_days=90
            ),
        ),
        (
            TASK | FOLDER | {"celery_task": "Kette starten, bitte ", "celery_queue": "für Süd"},
            CeleryDestination(
                kind="celery",
                name=NAME,
                task="Kette starten, bitte ",
                queue="für Süd",
                place=LINKED,
                give_up_after_days=90,
            ),
        ),
        # Without a folder, or with one that could not be, only the task was started.
        (
            TASK | {"copy_to_folder": True, "folder": "/x/.."},
            CeleryDestination(
                kind="celery", name=NAME, task="chain.start", queue="chains", give_up_after_days=90
            ),
        ),
    ],
)
def test_what_the_configuration_handed_over_is_the_first_rule(archive, handler, wanted):
    archive.configure(**handler)
    archive.migrate()
    document = archive.document()
    assert document.destinations == (wanted,)
    assert document.rules == (RoutingRule(name=NAME, destinations=(NAME,)),)
    in_force = archive.config()
    assert (in_force["version"], in_force["created_by"]) == (2, "system")
    assert read_config(in_force["document"]).unknown == ()
    assert read_config(in_force["document"]).config.network == EVERYTHING.network


@pytest.mark.parametrize(
    "handler",
    [{}, {"folder": "/srv/handler"}, {"auto_import": True}, {"trigger_processing": True}, None],
)
def test_who_handed_nothing_over_gets_no_rule(archive, handler):
    archive.complete(2)
    archive.stand("handler", archive.sequences[0])
    if handler is not None:
        archive.configure(**handler)
    archive.migrate()
    assert archive.document() is None
    assert archive.position("routing") is None
    assert archive.position("handler") == archive.sequences[0]
    if handler is not None:
        assert "handler" not in archive.config()["document"]


def test_a_configuration_without_the_section_stays_as_it_is(archive):
    archive.configure(**FOLDER)
    archive.run("UPDATE server_config SET document = document - 'handler'")
    archive.migrate()
    assert (archive.config()["version"], archive.document()) == (1, None)


def test_only_the_configuration_in_force_counts(archive):
    archive.configure(**FOLDER)
    archive.configure()
    archive.migrate()
    assert archive.document() is None


# --- what was handed over, and what was not -------------------------------------------


@pytest.mark.parametrize("routing", [None, 0, 3])
def test_without_rules_routing_starts_where_the_handler_stood(archive, routing):
    archive.configure(**FOLDER)
    archive.complete(3)
    archive.stand("handler", archive.sequences[0])
    if routing is not None:
        archive.stand("routing", [0, *archive.sequences][routing])
    archive.migrate()
    found = archive.decide()
    assert [one["sequence"] for one in found] == archive.sequences[1:]
    assert {(one["destination"], one["state"]) for one in found} == {(NAME, "pending")}
    assert all(one["patient"] for one in found)
    archive.complete()
    assert archive.decide()[-1]["sequence"] == archive.sequences[-1]


def test_a_handler_that_never_ran_begins_with_what_happens_from_now_on(archive):
    archive.configure(**FOLDER)
    archive.complete()
    archive.migrate()
    assert archive.decide() == []
    archive.complete()
    assert [one["sequence"] for one in archive.decide()] == archive.sequences[1:]


def test_with_rules_what_lies_between_is_delivered_once_by_each(archive, monkeypatch):
    archive.put(OWN)
    archive.complete(3)
    archive.stand("routing", 0)
    with monkeypatch.context() as before:
        before.setattr("draw_shared.db.revisions.OLDEST_SERVED", BEFORE)
        # That release knew no table of what is looked at again.
        before.setattr(PostponedDecisionService, "look_again_at_some", lambda _: False)
        before.setattr(PostgresRoutingFeedRepository, "postponed", lambda _: 0)
        archive.decide()
    archive.configure(**FOLDER)
    archive.stand("handler", archive.sequences[0])
    archive.migrate()
    archive.complete()
    found = archive.decide()
    assert [(one["sequence"], one["destination"], one["state"]) for one in found] == [
        *((sequence, "own", "pending") for sequence in archive.sequences[:3]),
        *((sequence, NAME, "pending") for sequence in archive.sequences[1:3]),
        (archive.sequences[3], NAME, "pending"),
        (archive.sequences[3], "own", "pending"),
    ]
    asked = "SELECT applied, destinations FROM routing_decisions ORDER BY sequence"
    said = [tuple(row.values()) for row in rows(archive.url, asked)]
    assert said == [(["own"], ["own"]), *[([NAME, "own"], [NAME, "own"])] * 3]
    assert [rule.name for rule in archive.document().rules] == [NAME, "own"]


def test_what_was_handed_over_before_routing_looked_at_it_is_not_again(archive):
    archive.put(OWN)
    archive.configure(**FOLDER)
    archive.complete(3)
    archive.stand("routing", 0)
    archive.stand("handler", archive.sequences[1])
    archive.migrate()
    found = archive.decide()
    of_handler = [one for one in found if one["destination"] == NAME]
    assert [(one["sequence"], one["state"], one["ended"]) for one in of_handler] == [
        (archive.sequences[0], "delivered", True),
        (archive.sequences[1], "delivered", True),
        (archive.sequences[2], "pending", False),
    ]
    assert [one["delivered_count"] for one in of_handler] == [3, 3, 0]
    own = [one["sequence"] for one in found if one["destination"] == "own"]
    assert own == archive.sequences


def test_a_series_that_is_gone_is_not_delivered(archive):
    archive.put(OWN)
    archive.configure(**FOLDER)
    archive.complete(2)
    archive.stand("handler", 0)
    archive.stand("routing", archive.sequences[1])
    archive.run("DELETE FROM series WHERE series_instance_uid = '1.2.1.1'")
    archive.migrate()
    assert [one["sequence"] for one in archive.decide()] == archive.sequences[1:]


# --- names, room, and who else is at work ---------------------------------------------


def test_its_name_is_nobody_elses(archive):
    named = NAME.upper(), "dicom handler 2"
    archive.put(
        OWN | {"name": named[0], "destinations": [named[1]]},
        destinations=[OWN_FOLDER | {"name": named[1]}],
    )
    archive.configure(**FOLDER)
    archive.migrate()
    document = archive.document()
    assert [rule.name for rule in document.rules] == ["DICOM handler 3", named[0]]
    assert document.rules[0].destinations == ("DICOM handler 3",)


def test_rules_without_room_for_one_more_stay_and_so_does_the_handler(archive):
    archive.put(*(OWN | {"name": str(number)} for number in range(200)))
    archive.configure(**FOLDER)
    with pytest.raises(MigrationRefused, match="remove a rule or a destination"):
        upgrade(archive.url, AFTER)
    assert len(archive.document().rules) == 200
    assert "handler" in archive.config()["document"]


def _lock_of_the_release_before():
    return int.from_bytes(hashlib.sha256(b"handler").digest()[:8], signed=True)


def test_who_hands_over_at_that_moment_goes_on_until_it_is_replaced(archive):
    archive.configure(**FOLDER)
    archive.complete(2)
    archive.stand("handler", archive.sequences[0])
    former = FormerHandler(archive.database)
    key = {"key": _lock_of_the_release_before()}
    with archive.database.engine.connect() as indexer:
        indexer.execute(text("SELECT pg_advisory_lock(:key)"), key)
        indexer.commit()
        archive.migrate()
        former.take_over()
        assert archive.document() is None
        assert archive.config()["document"]["handler"]["auto_import"] is True
        assert archive.decide() == []
        # What it was at is handed over.
        archive.run("UPDATE feed_positions SET sequence = :reached", reached=archive.sequences[1])
        indexer.execute(text("SELECT pg_advisory_unlock(:key)"), key)
        indexer.commit()
    archive.complete()
    former.take_over()
    former.take_over()
    assert "handler" not in archive.config()["document"]
    assert [one["sequence"] for one in archive.decide()] == archive.sequences[2:]


def test_a_release_before_that_was_back_hands_over_to_the_rule_that_there_is(archive):
    archive.configure(**TASK | FOLDER)
    archive.migrate()
    rule = archive.document()
    former = FormerHandler(archive.database)
    archive.run("UPDATE feed_positions SET updated_at = now() - interval '2 minutes'")
    former.take_over()
    assert archive.position("handler") is None
    # Its indexer begins anew, and hands over the second.
    archive.complete()
    archive.stand("handler", archive.sequences[0])
    archive.configure(**TASK | FOLDER)
    archive.complete(2)
    reached = "UPDATE feed_positions SET sequence = :reached WHERE consumer = 'handler'"
    archive.run(reached, reached=archive.sequences[1])
    former.take_over()
    assert archive.document() == rule
    states = [(one["sequence"], one["state"]) for one in archive.decide()]
    assert states == [
        (archive.sequences[0], "delivered"),
        (archive.sequences[1], "delivered"),
        (archive.sequences[2], "pending"),
    ]
    # Once more, while its consumer still stands behind everything: it hands nothing over.
    archive.configure(**TASK | FOLDER)
    archive.complete()
    former.take_over()
    states = [(one["sequence"], one["state"]) for one in archive.decide()]
    assert states[3:] == [(archive.sequences[3], "pending")]
    assert archive.document() == rule


def test_indexers_of_the_release_before_hand_nothing_over_any_more(archive):
    archive.configure(**FOLDER)
    archive.complete(2)
    archive.stand("handler", archive.sequences[0])
    archive.migrate()
    archive.complete()
    # As they ask, and as they skip what they do not hand over.
    for_them = """
        SELECT count(*) FROM changes WHERE kind = 'series.stable'
            AND sequence > (SELECT sequence FROM feed_positions WHERE consumer = 'handler')
    """
    skipped = """
        UPDATE feed_positions SET sequence = (SELECT max(sequence) FROM changes)
        WHERE consumer = 'handler' AND sequence < (SELECT max(sequence) FROM changes)
        RETURNING sequence
    """
    assert archive.run(for_them) == 0
    assert archive.run(skipped) is None
    archive.complete()
    assert archive.run(for_them) == 0
