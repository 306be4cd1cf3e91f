"""The release before and this one, on the schemas of both and of a later one, under load.

Not covered: releases from before the schema 0016, which work on none but their own.
"""

import json
import os
from collections import Counter
from contextlib import contextmanager
from uuid import UUID, uuid5

import pytest

from draw_shared.db.migrate import upgrade
from draw_shared.db.revisions import OLDEST_SERVED, head_revision
from support import previous_release, service_finder
from support.celery_worker import TASK, celery_worker
from support.delivered import put_rules
from support.hook_receiver import hook_receiver
from support.next_release import LaterRelease, revision_after
from support.onlooker import Onlooker
from support.steady_stores import SteadyStores
from support.suite import ON_DEMAND, Suite, draw_admin, set_config, signed_in
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PEERS = ("127.0.0.2", "127.0.0.3")
ASKING = ("indexer", "qr-worker", "api")
"""The services that ask for the schema; the receiver receives whatever it is."""
BEFORE = f"{int(OLDEST_SERVED) - 1:04d}"
HEAD = head_revision()
INDEX_SECONDS = 120
HELD = """
    SELECT i.sop_instance_uid, s.series_instance_uid, t.study_instance_uid FROM instances i
    JOIN series s ON s.id = i.series_pk JOIN studies t ON t.id = s.study_pk
    WHERE i.sop_instance_uid = ANY(:uids)
"""
HANDED_OVER = """
    SELECT c.sequence, c.series_instance_uid AS series, coalesce(d.state, '') AS state
    FROM changes c LEFT JOIN routing_decisions r ON r.sequence = c.sequence
    LEFT JOIN deliveries d ON d.decision_id = r.id
    WHERE c.kind = 'series.stable' AND c.sequence >= :first ORDER BY c.sequence
"""
TASK_NAMESPACE = UUID("0f6a5c3e-51a0-5d0b-9a0e-6f5f4dfc7f11")
"""What customers know tasks by: it is the same in every release."""
UNDO = """
    ALTER TABLE instances ADD COLUMN header_damage text DEFAULT '' NOT NULL;
    DELETE FROM schema_revisions WHERE revision = '{after}';
    UPDATE alembic_version SET version_num = '{before}';
"""


def test_a_service_is_not_ready_before_its_migration_and_says_so(
    tmp_path, postgres_url, broker_url
):
    with service_finder.cloned_database(postgres_url, "template1") as url:
        upgrade(url, BEFORE)
        suite = Suite(tmp_path, url, broker_url)
        indexer = suite.services["indexer"]
        try:
            indexer.start()
            assert wait_until(lambda: "schema" in indexer.answer("/readyz")[1], 60)
            status, words = indexer.answer("/readyz")
            suite.seed()
            suite.wait_ready("indexer")
        finally:
            suite.end()
    assert status == 503
    assert words.startswith(
        f"database: the schema is {BEFORE}, this release needs {OLDEST_SERVED} or later:"
        " run `draw-admin migrate` of this release"
    )


@pytest.fixture(scope="module")
def suite(tmp_path_factory, postgres_url, broker):
    """All four services of the release before, ready, on the schema that they came with."""
    folder = tmp_path_factory.mktemp("upgrades")
    path = previous_release.search_path(folder / "previous")
    with (
        service_finder.cloned_database(postgres_url, "template1") as database_url,
        broker.vhost() as broker_url,
    ):
        suite = Suite(
            folder,
            database_url,
            broker_url,
            PYTHONPATH=path,
            DRAW_INDEXER_STABILITY_SECONDS="0.2",
        )
        # A setting that the release before does not know keeps it from starting.
        suite.services["scp"].environment.pop("DRAW_SCP_LOOPBACK_READS")
        migrated = draw_admin(suite, "migrate", "--everything")
        assert migrated.stdout.startswith(f"schema {previous_release.REVISION}"), migrated.stderr
        try:
            suite.start()
            with signed_in(suite.web_url) as suite.admin:
                set_config(suite, query_retrieve={"stable_after_seconds": 1})
                yield suite
        finally:
            suite.end()


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """A release after this one."""
    return LaterRelease(tmp_path_factory.mktemp("later"))


@contextmanager
def storing(suite):
    """Yield peers that store all the time; at the end all of it is indexed once, nothing lost."""
    stores = SteadyStores(suite.dicom_port, 100, PEERS)
    stores.start()
    try:
        more(stores)
        yield stores
        more(stores)
    finally:
        stores.wait(120)
    assert stores.failures == []
    held = indexed(suite, stores.stored)
    assert sorted(row["sop_instance_uid"] for row in held) == sorted(stores.stored)
    with signed_in(suite.web_url) as client:
        queues = client.get("/api/v1/dead-letters").raise_for_status().json()
    assert not any(queue["messages"] for queue in queues), queues


def indexed(suite, uids):
    """Return the rows of these objects, with their studies, once all are there."""
    return suite.wait_for_rows(len(uids), HELD, INDEX_SECONDS, uids=list(uids))


def more(stores):
    """Return when some more objects were stored."""
    already = len(stores.stored)
    assert wait_until(lambda: len(stores.stored) > already + 50, 60)


def revisions(suite, name):
    """Return the schema that a service has seen, and the release that it is."""
    _, told = suite.services[name].answer("/metrics")
    lines = [line for line in told.splitlines() if line.startswith("draw_service_schema_revision")]
    number = {line.split('"')[1]: f"{int(float(line.split()[1])):04d}" for line in lines}
    return number["database"], number["release"]


def test_services_of_both_releases_go_on_while_the_schema_becomes_a_later_one(
    suite, later, tmp_path
):
    later.expand()
    with (
        told_of_studies(suite) as told,
        handing_over(suite, tmp_path) as (calls, is_handed_over),
        storing(suite) as stores,
    ):
        assert wait_until(calls, 120), "the release before hands nothing over"
        with Onlooker(suite, suite.admin) as onlooker:
            onlooker.wait_for_rounds(8)
            upgrade(suite.database_url)
            upgrade(suite.database_url, scripts=later.scripts)
            onlooker.wait_for_rounds(3)
        assert onlooker.complaints == []
        for name in ASKING:
            seen = (later.head, previous_release.REVISION)
            assert wait_until(lambda: revisions(suite, name) == seen, 60)  # noqa: B023
            assert wait_until(lambda: later_logged(suite, name).count(later.head) == 1, 60)  # noqa: B023
        migrated = draw_admin(suite, "migrate")
        assert migrated.returncode == 0
        said = f"schema {later.head} is a later release's; {previous_release.REVISION} serves it"
        assert migrated.stdout == f"{said} too\n"
        for name, process in suite.services.items():
            more(stores)
            # What the release before does not have begins with this one.
            assert suite.stop(name) == (None if name in ON_DEMAND else 0)
            process.environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
            suite.start(name)
        for name in ASKING:
            assert wait_until(lambda: revisions(suite, name) == (later.head, HEAD), 60)  # noqa: B023
        held = indexed(suite, list(stores.stored))
        assert wait_until(lambda: {row["study_instance_uid"] for row in held} <= told(), 60)
        series = {row["series_instance_uid"] for row in held}
        assert wait_until(lambda: is_handed_over(series), 120)


def later_logged(suite, name):
    """Return the later schemas that a service has logged: each once, not at each look."""
    lines = suite.log(name).splitlines()
    return [json.loads(line)["schema"] for line in lines if "schema.later_release" in line]


@contextmanager
def told_of_studies(suite):
    """Yield a function that returns the studies of whose completion a webhook was told."""
    with hook_receiver() as hooks:
        hook = {"url": hooks.url, "kinds": ["study.stable"]}
        suite.admin.post("/api/v1/webhooks", json=hook).raise_for_status()

        def told():
            with hooks.lock:
                return {json.loads(body)["study_instance_uid"] for _, body in hooks.requests}

        yield told


@contextmanager
def handing_over(suite, folder):
    """Have the release before hand series over, into a folder and to a real Celery worker.

    Yield a function that returns the worker's calls, and one that returns whether the rule that
    this has become has handed over these series too: each completion once, whichever release did
    it.
    """
    place = folder / "handler"
    handler = {
        "auto_import": True,
        "folder": str(place),
        "trigger_processing": True,
        "celery_task": TASK,
        "celery_queue": "chains",
    }
    with celery_worker(suite.broker_url, folder, "chains") as worker:
        set_config(suite, handler=handler)

        def is_handed_over(series):
            calls = worker.received()
            numbers = Counter(call["sequence"] for call in calls)
            assert set(numbers.values()) == {1}
            for call in calls:
                series_uid = call["series_instance_uid"]
                named = f"{call['sequence']}:{series_uid}"
                assert call["id"] == str(uuid5(TASK_NAMESPACE, named))
                assert call["folder"] == str(place / series_uid)
                assert len(list((place / series_uid).glob("*.dcm"))) >= call["instances"]
            completed = suite.rows(HANDED_OVER, first=min(numbers))
            lacking = [
                row
                for row in completed
                if row["sequence"] not in numbers and row["state"] != "superseded"
            ]
            by_rule = [row for row in completed if row["state"] == "delivered"]
            by_handler = [row for row in completed if not row["state"]]
            both = by_rule and by_handler
            return both and not lacking and series <= {row["series"] for row in completed}

        yield worker.received, is_handed_over
        with signed_in(suite.web_url) as suite.admin:
            put_rules(suite, {})


def test_a_release_that_a_contract_has_left_behind_loses_nothing(suite, later):
    before, after = later.head, revision_after(later.head)
    drop = 'op.drop_column("instances", "header_damage")'
    later.add(drop, kind="contract", compatible_from=after)

    def left_behind(name):
        status, words = suite.services[name].answer("/readyz")
        return status == 503 and f"serves releases from {after} on" in words

    with storing(suite) as stores:
        upgrade(suite.database_url, scripts=later.scripts)
        for name in ASKING:
            assert wait_until(lambda: left_behind(name), 60), name  # noqa: B023
        more(stores)
        assert suite.services["scp"].ready()
        migrated = draw_admin(suite, "migrate")
        assert migrated.returncode == 1
        assert migrated.stderr.startswith(f"draw-admin: the schema is {after}, which serves")
        assert migrated.stderr.count("\n") == 1
        suite.execute(UNDO.format(before=before, after=after))
        for name in ASKING:
            suite.wait_ready(name)
