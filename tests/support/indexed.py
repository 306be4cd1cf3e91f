"""A storage volume and its index, filled as the services do it, without a broker."""

import os
import time
from pathlib import Path

from prometheus_client import CollectorRegistry
from sqlalchemy import text

from draw_indexer.adapters.copies import FileCopies
from draw_indexer.adapters.deletions import PostgresExpiredStudyRepository
from draw_indexer.adapters.header_reader import HeaderReader
from draw_indexer.adapters.index_queries import PostgresIndexRepository
from draw_indexer.adapters.next_versions import NextVersions
from draw_indexer.handlers.instance_stored import InstanceStored
from draw_indexer.metrics import IndexerMetrics
from draw_indexer.models import FileMissing, Header
from draw_indexer.services.clean_up import CleanUpService, RetentionRule
from draw_indexer.services.indexing import IndexingService
from draw_indexer.services.recently_indexed import RecentlyIndexed
from draw_shared.contracts.server_config import DuplicatePolicy
from draw_shared.db.deletion import delete_instances, delete_study
from draw_shared.messaging.consumer import Delivery
from draw_shared.storage.layout import LATEST_DELETION
from draw_shared.storage.objects import hash_rest
from draw_shared.storage.outbox import event_of
from draw_shared.storage.places import Places
from draw_shared.storage.removal import StorageFiles
from support.receptions import DEFAULT, opened, receive

DAY = 86400
AGE = """
UPDATE {table} SET last_received_at = last_received_at - make_interval(days => :days),
    stable_at = now() WHERE {key} = :uid
"""
AGE_SERIES = """
UPDATE series SET last_received_at = last_received_at - make_interval(days => :days),
    stable_at = now() WHERE study_pk = (SELECT id FROM studies WHERE study_instance_uid = :uid)
"""
AGE_STUDY = AGE.format(table="studies", key="study_instance_uid")


class HeadersHere:
    """Reads headers without a process for it, which takes a second to start."""

    def __init__(self, root):
        self._root = root
        self.then = lambda: None

    def read(self, paths):
        reader = HeaderReader()
        headers = [self._header(reader, path) for path in paths]
        self.then()
        return headers

    def _header(self, reader, path):
        try:
            return Header(*reader.read(f"{self._root}/{path}"))
        except FileNotFoundError:
            return FileMissing(path)


class IndexedStorage:
    """One receiver and one indexer in the test's process."""

    def __init__(self, root, database, *, receiving=True):
        self.root = root
        self.database = database
        self.store = opened(root) if receiving else None
        self.duplicates = DuplicatePolicy.KEEP_EXISTING
        self.cleaned_up = []
        self.headers = HeadersHere(root)
        indexing = IndexingService(
            PostgresIndexRepository(database, StorageFiles(root)), lambda: self.duplicates
        )
        self.recently = RecentlyIndexed()
        self._handler = InstanceStored(
            self.headers,
            Places(root).unseal,
            indexing,
            IndexerMetrics(CollectorRegistry()),
            indexed=self.recently.add,
        )

    def close(self):
        self.store.stop(5)

    def set_clock_back(self, seconds):
        """Have the volume's clock stand that far before the latest deletion that it knows."""
        then = time.time() + seconds
        os.utime(self.root / LATEST_DELETION, (then, then))

    def restart(self):
        """Let another receiver of this name take over, which remembers nothing."""
        self.store.stop(5)
        self.store = opened(self.root)

    def receive(self, *objects, days_ago=0, layout=DEFAULT):
        """Store, index and release objects; return what was stored."""
        stored = [receive(self.store, made, layout)[0] for made in objects]
        self.index(*stored)
        self.store.release(stored)
        if days_ago:
            for uid in {s.identity.study_instance_uid for s in stored}:
                self.age(uid, days_ago)
        return stored

    def index(self, *stored):
        """Index objects as they were announced."""
        assert not self.failures(*stored)

    def failures(self, *stored, attempt=0):
        """Index objects as they were announced, and return what could not be."""
        return self.index_events([event_of(each).to_bytes() for each in stored], attempt=attempt)

    def index_events(self, events, *, attempt=0):
        """Index what these announcements say, and return what could not be."""
        deliveries = [
            Delivery(event, "instance.stored.v1", attempt, number, 1)
            for number, event in enumerate(events, start=1)
        ]
        return self._handler.on_instances_stored(deliveries)

    def delete(self, study_instance_uid):
        """Delete a study's rows as an administrator does; return what went."""
        with self.database.session() as session:
            files = StorageFiles(self.root)
            gone = delete_study(session.connection(), study_instance_uid, files, by="admin")
            session.commit()
        return gone

    def clean_up(self, *, on=False, backlog=0, days=30):
        """Return the use case as the indexer has it."""
        return CleanUpService(
            PostgresExpiredStudyRepository(self.database, self.root, replica="test"),
            FileCopies(self.database, self.root),
            lambda: RetentionRule(on, days),
            lambda: backlog,
            self.cleaned_up.append,
        )

    def lose(self, *stored):
        """Delete the rows of objects whose files are lost, as reconcile does it."""
        with self.database.session() as session:
            lost = [(each.identity.sop_instance_uid, each.path) for each in stored]
            gone = delete_instances(session.connection(), lost, by="test")
            assert gone.instances == len(lost)
            session.commit()

    def settle(self):
        """Remove the files that are recorded as to be removed, and index what follows them."""
        self.clean_up().remove_files()
        NextVersions(self.database, self.root, self._announced).announce()

    def _announced(self, events):
        assert not self.index_events([event.to_bytes() for event in events])

    def age(self, study_instance_uid, days):
        """Make a study and its files as old as if received so many days before."""
        values = {"uid": study_instance_uid, "days": days}
        with self.database.session() as session:
            connection = session.connection()
            connection.execute(text(AGE_SERIES), values)
            connection.execute(text(AGE_STUDY), values)
            session.commit()
        then = time.time() - days * DAY
        for path in self.paths(study_instance_uid):
            os.utime(self.root / path, (then, then))

    def paths(self, study_instance_uid):
        """Return where the index says the study's objects lie."""
        return self.scalars(
            "SELECT i.path FROM instances i JOIN series r ON r.id = i.series_pk"
            " JOIN studies s ON s.id = r.study_pk WHERE s.study_instance_uid = :uid",
            uid=study_instance_uid,
        )

    def studies(self):
        """Return the studies that the index has."""
        return set(self.scalars("SELECT study_instance_uid FROM studies"))

    def scalars(self, statement, **values):
        """Return the first column of what a query finds."""
        with self.database.session() as session:
            return list(session.connection().execute(text(statement), values).scalars())

    def execute(self, statement, **values):
        """Run a statement in a transaction of its own."""
        with self.database.session() as session:
            session.connection().execute(text(statement), values)
            session.commit()

    def content(self, path):
        """Return what a file of the volume holds."""
        return StorageFiles(self.root).content(path)

    def files(self):
        """Return the paths of all files of objects on the volume."""
        return stored_files(self.root)


def stored_files(root):
    """Return the paths below a storage root of all files of objects."""
    return {
        str(path.relative_to(root))
        for folder in ("objects", "conflicts")
        for path in files_below(root / folder)
    }


def files_below(folder):
    """Yield the paths of all files below a folder, in which other folders may go meanwhile."""
    for inner, _, names in os.walk(folder):
        yield from (Path(inner, name) for name in names)


def content_hash(path):
    """Return the SHA-256 of a whole file."""
    with path.open("rb") as file:
        return hash_rest(file.read)
