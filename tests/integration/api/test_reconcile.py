"""The repair of the index meets what has come since: since the list was shown, or the backup."""

import subprocess
import time

import pytest

from draw_api.adapters.reconcile_queries import PostgresIndexAuditRepository
from draw_api.adapters.stored_files import FileAnnouncements, VolumeFiles
from draw_api.models.upkeep import Rebuilt
from draw_api.services.reconcile import ReconcileService
from draw_api.services.reindex import ReindexService
from draw_shared.access.principals import Principal, Role
from draw_shared.db import tombstones
from draw_shared.db.audit_trail import PostgresAuditTrail
from draw_shared.db.session import Database
from support import datasets, service_finder
from support.indexed import IndexedStorage
from support.publishing import FakePublisher
from support.receptions import same_instance
from tools import local_postgres

pytestmark = pytest.mark.integration

BY = Principal(0, "test", Role.ADMIN, "")
NAMED = "SELECT path FROM instances UNION SELECT path FROM instance_conflicts"


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path, database)
    yield made
    made.close()


def test_what_is_received_again_while_its_loss_is_shown_keeps_its_row(archive):
    again, lost = datasets.series(2)
    aside = same_instance(again, StudyDescription="other bytes")
    for stored in archive.receive(again, aside, lost):
        (archive.root / stored.path).unlink()
    with archive.database.session() as session:
        audit = PostgresAuditTrail(session, replica="test")
        files = VolumeFiles(archive.root)
        reconcile = ReconcileService(
            PostgresIndexAuditRepository(session), files, lambda _: Rebuilt(), audit
        )
        found = reconcile.differences(time.time() + 1)
        assert (len(found.rows_without_file), len(found.conflicts_without_file)) == (2, 1)
        # A list that somebody reads page by page takes its time.
        kept = {stored.path for stored in archive.receive(again, aside)}
        reconcile.repair(BY, found)
        session.commit()
    assert set(archive.scalars(NAMED)) == archive.files() == kept
    [said] = archive.scalars("SELECT detail FROM transactions WHERE action = 'storage.reconcile'")
    assert said.startswith("1 rows and 0 conflicts without file")


def test_whose_study_had_no_file_left_stays_known(archive):
    (lost,) = datasets.series(1)
    lost.PatientID, lost.StudyDescription = "KN100234", "US Abdomen"
    [stored] = archive.receive(lost)
    (archive.root / stored.path).unlink()
    with archive.database.session() as session:
        audit = PostgresAuditTrail(session, replica="test")
        reconcile = ReconcileService(
            PostgresIndexAuditRepository(session),
            VolumeFiles(archive.root),
            lambda _: Rebuilt(),
            audit,
        )
        reconcile.repair(BY, reconcile.differences(time.time() + 1), empty=True)
        session.commit()
    uid = str(lost.StudyInstanceUID)
    assert archive.scalars(
        "SELECT study_instance_uid || ' ' || patient_id || ' ' || description || ' ' || deleted_by"
        " FROM deleted_studies"
    ) == [f"{uid} KN100234 US Abdomen test"]
    assert archive.scalars(
        "SELECT study_instance_uid FROM transactions WHERE action = 'study.delete'"
    ) == [uid]


def run(program, *words):
    subprocess.run([local_postgres.programs() / program, *words], check=True, timeout=60)


@pytest.fixture
def yesterday(archive, database_url, postgres_url, tmp_path_factory):
    """Restores a backup that was made of the archive's database, beside the same volume."""
    dump = tmp_path_factory.mktemp("backup") / "draw.dump"

    def back_up():
        run("pg_dump", "-Fc", "-f", dump, "-d", database_url)

    with service_finder.cloned_database(postgres_url, "template0") as url:

        def restored():
            run("pg_restore", "--exit-on-error", "--no-owner", "-d", url, dump)
            return IndexedStorage(archive.root, database, receiving=False)

        database = Database(url)
        yield back_up, restored
        database.dispose()


def test_a_database_from_yesterday_gets_what_came_since_and_says_how_many(archive, yesterday):
    back_up, restored = yesterday
    before = archive.receive(*datasets.series(2))
    back_up()
    since = archive.receive(*datasets.series(3))
    archive = restored()
    publisher = FakePublisher()
    with archive.database.session() as session:
        connection = session.connection()
        files = VolumeFiles(archive.root)
        announcements = FileAnnouncements(
            archive.root, publisher, lambda objects: tombstones.of(connection, objects)
        )
        reconcile = ReconcileService(
            PostgresIndexAuditRepository(session),
            files,
            ReindexService(files, announcements, lambda _: None).announce,
            PostgresAuditTrail(session, replica="test"),
        )
        found = reconcile.differences(time.time() + 1)
        assert set(found.files_without_row) == {stored.path for stored in since}
        assert "5 files; 0 rows without file" in found.summary
        assert "3 files without row (0 more are new)" in found.summary
        assert reconcile.repair(BY, found).announced == 3
        session.commit()
    assert not archive.index_events([event.to_bytes() for event in publisher.messages])
    assert set(archive.scalars(NAMED)) == {stored.path for stored in (*before, *since)}
    [said] = archive.scalars("SELECT detail FROM transactions WHERE action = 'storage.reconcile'")
    assert said.endswith("3 files without row announced")
