"""Finds the objects on the storage volume that the index does not know yet.

An object moves from the spool into a record of announcements, and from there into the index. It is
looked for in that order, so none is missed on its way. Concurrency: belongs to one thread.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import text
from typing_extensions import override

from draw_indexer.adapters.announced_objects import PostgresAnnouncedObjectLookup
from draw_indexer.ports.stability import VolumeWatch
from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.db.session import Database
from draw_shared.storage import spool
from draw_shared.storage.announced import AnnouncedRecords, tries_of
from draw_shared.storage.unannounced import unannounced_entries, unannounced_studies

MAX_RECORDS: Final = 1_000
"""More records mean that the indexers are far behind."""
MAX_ENTRIES: Final = 20_000
"""More spool entries mean that the broker is away; nothing is announced then anyway."""
MAX_SNAPSHOTS: Final = 100
UNACCOUNTED: Final = text(
    """
    SELECT k.series
    FROM unnest(CAST(:series AS text[]), CAST(:associations AS text[]), CAST(:uids AS text[]))
        AS k (series, association, uid)
    JOIN series r ON r.series_instance_uid = k.series AND r.stable_at IS NULL
    JOIN instances o ON o.sop_instance_uid = k.uid AND o.association_id <> k.association
    WHERE NOT EXISTS (SELECT FROM series_arrivals a
        WHERE a.series_pk = r.id AND a.association_id = k.association)
    """
)
"""Which series get an object again from an association that the index does not know to bring it."""
UIDS: Final = re.compile(rb'"(?:study|series)_instance_uid":"([0-9.]+)"')


class StorageVolumeWatch(VolumeWatch):
    """The spool folders and the records of announcements of one storage volume.

    Args:
        recently_indexed: whether this process remembers to have indexed these announcements; it
            saves asking the index.
    """

    def __init__(
        self, root: Path, database: Database, recently_indexed: Callable[[Sequence[bytes]], bool]
    ) -> None:
        self._root = root
        self._database = database
        self._recently_indexed = recently_indexed
        self._records = AnnouncedRecords(root)
        self._snapshots: list[tuple[float, set[str]]] = []
        """When the spool was looked at, and which of its entries have been there ever since."""
        self._announced_until = float("-inf")
        self._uids_of: dict[str, frozenset[bytes]] = {}
        """The series and studies in each record; records never change."""

    @override
    def look(self) -> None:
        now = time.monotonic()
        entries = unannounced_entries(self._root)
        if len(entries) > MAX_ENTRIES:
            return
        names = {spool.entry_name(entry) for entry in entries}
        left = []
        for moment, waiting in (*self._snapshots, (now, names)):
            if still := waiting & names:
                left.append((moment, still))
            else:
                self._announced_until = max(self._announced_until, moment)
        self._snapshots = left[-MAX_SNAPSHOTS:]

    @override
    def announced_since(self, moment: float) -> bool:
        return self._announced_until >= moment

    @override
    def unannounced_studies(self) -> Collection[str] | None:
        return unannounced_studies(self._root)

    @override
    def find_unindexed(self, uids: Collection[str]) -> Collection[str] | None:
        names = self._records.names(MAX_RECORDS + 1)
        if len(names) > MAX_RECORDS:
            return None
        self._uids_of = {name: self._read_uids(name) for name in names}
        wanted = {uid.encode() for uid in uids}
        lines = [
            line
            for name in names
            if not wanted.isdisjoint(self._uids_of[name])
            for line in self._records.lines(name)
            if not wanted.isdisjoint(UIDS.findall(line))
        ]
        # A record that was postponed meanwhile was not there under its former name.
        new = set(self._records.names(MAX_RECORDS + 1)).difference(names)
        if any(tries_of(name) for name in new):
            return None
        unknown = [line for line in lines if not self._recently_indexed([line])]
        missing = self._missing_of([InstanceStoredV1.from_bytes(line) for line in unknown])
        return missing.intersection(uids)

    def _read_uids(self, name: str) -> frozenset[bytes]:
        known: Mapping[str, frozenset[bytes]] = self._uids_of
        if name in known:
            return known[name]
        return frozenset(uid for line in self._records.lines(name) for uid in UIDS.findall(line))

    def _missing_of(self, objects: list[InstanceStoredV1]) -> set[str]:
        if not objects:
            return set()
        counted = [one for one in objects if one.association_ordinal is not None]
        values = {
            "series": [one.series_instance_uid for one in counted],
            "associations": [one.association_id for one in counted],
            "uids": [one.sop_instance_uid for one in counted],
        }
        with self._database.session() as session:
            lookup = PostgresAnnouncedObjectLookup(session.connection())
            missing = {
                uid
                for one in lookup.missing(objects)
                for uid in (one.series_instance_uid, one.study_instance_uid)
            }
            return missing.union(session.connection().execute(UNACCOUNTED, values).scalars())
