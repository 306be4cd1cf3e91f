"""The repair of the index meets what has come since the differences were shown."""

import time

import pytest

from draw_api.adapters.audit_queries import PostgresAudit
from draw_api.adapters.reconcile_queries import PostgresIndexAudit
from draw_api.adapters.stored_files import ObjectFiles
from draw_api.models.access import Principal, Role
from draw_api.models.upkeep import Rebuilt
from draw_api.services.reconcile import Reconcile
from support import datasets
from support.indexed import IndexedStorage
from support.receptions import same_instance

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
        audit = PostgresAudit(session, replica="test")
        files = ObjectFiles(archive.root)
        reconcile = Reconcile(PostgresIndexAudit(session), files, lambda _: Rebuilt(), audit)
        found = reconcile.differences(time.time() + 1)
        assert (len(found.rows_without_file), len(found.conflicts_without_file)) == (2, 1)
        # A list that somebody reads page by page takes its time.
        kept = {stored.path for stored in archive.receive(again, aside)}
        reconcile.repair(BY, found)
        session.commit()
    assert set(archive.scalars(NAMED)) == archive.files() == kept
    [said] = archive.scalars("SELECT detail FROM transactions WHERE action = 'storage.reconcile'")
    assert said.startswith("1 rows and 0 conflicts without file")
