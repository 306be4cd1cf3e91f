"""Remembers what was deleted, so that it does not come back but by being received anew.

A file belongs to a deletion when it was last written or claimed before it, by the clock of
the storage volume (`StorageFiles.moment`): the time of modification is set by whoever keeps
the volume, it goes along with renaming and with backups that keep times, and a receiver
renews it when it finds its bytes there. A clock that is set back changes nothing in that
(`draw_shared.storage.latest_deletion`).
"""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import Connection, text

KEPT_DAYS: Final = 3653
"""Ten years: longer than backups are kept from which a deleted file could come back."""

# Where it was deleted before, nothing that went then may come back now.
PLACE: Final = text(
    """
    INSERT INTO tombstones AS t (uid, before_ns, deleted_by)
    SELECT DISTINCT uid, CAST(:before AS bigint), CAST(:deleted_by AS text)
    FROM unnest(CAST(:uids AS text[])) AS k (uid)
    ON CONFLICT (uid) DO UPDATE SET before_ns = greatest(t.before_ns, EXCLUDED.before_ns),
        deleted_by = EXCLUDED.deleted_by, deleted_at = now()
    """
)
FOUND: Final = text("SELECT uid, before_ns FROM tombstones WHERE uid = ANY(:uids)")
LATEST: Final = text("SELECT coalesce(max(before_ns), 0) FROM tombstones")
FORGET_OLD: Final = text(
    "DELETE FROM tombstones WHERE deleted_at < now() - make_interval(days => :days)"
)


def place(connection: Connection, uids: Collection[str], before_ns: int, deleted_by: str) -> None:
    """Remember that files of these studies or objects that are older than this are deleted."""
    connection.execute(PLACE, {"uids": sorted(uids), "before": before_ns, "deleted_by": deleted_by})


class Tombstones:
    """What is remembered of some studies and objects."""

    def __init__(self, before_ns: Mapping[str, int]) -> None:
        self._before_ns = before_ns

    def __bool__(self) -> bool:
        return bool(self._before_ns)

    def before(self, study_instance_uid: str, sop_instance_uid: str) -> int:
        """Return before when a file of this object is deleted, in nanoseconds; 0: it is not."""
        found = self._before_ns.get
        return max(found(study_instance_uid, 0), found(sop_instance_uid, 0))


def of(connection: Connection, uids: Collection[str]) -> Tombstones:
    """Return the tombstones of these studies and objects."""
    found = connection.execute(FOUND, {"uids": list(uids)})
    return Tombstones({row.uid: row.before_ns for row in found})


def latest(connection: Connection) -> int:
    """Return the latest moment of a deletion, in nanoseconds since 1970; 0 without any."""
    found: int = connection.execute(LATEST).scalar_one()
    return found


def forget_old(connection: Connection) -> None:
    """Forget deletions of which no file can come back any more."""
    connection.execute(FORGET_OLD, {"days": KEPT_DAYS})
