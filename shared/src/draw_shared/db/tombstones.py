"""Remembers what was deleted, so that it does not come back but by being received anew.

A file belongs to a deletion when it was last written or claimed before it, by the clock of
the storage volume (`StorageFiles.moment`): the time of modification is set by whoever keeps
the volume, it goes along with renaming and with backups that keep times, and a receiver
renews it when it finds its bytes there. A clock that is set back changes nothing in that
(`draw_shared.storage.latest_deletion`).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Protocol

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


class Object(Protocol):
    """What decides which tombstones concern an object."""

    @property
    def study_instance_uid(self) -> str:
        """The study that it names."""

    @property
    def sop_instance_uid(self) -> str:
        """Its own UID."""

    @property
    def content_sha256(self) -> str:
        """Which version it is."""


def place(connection: Connection, uids: Collection[str], before_ns: int, deleted_by: str) -> None:
    """Remember that files of these studies or versions that are older than this are deleted."""
    connection.execute(PLACE, {"uids": sorted(uids), "before": before_ns, "deleted_by": deleted_by})


def of_version(sop_instance_uid: str, content_sha256: str) -> str:
    """Return what the tombstone of one version of an object has in place of a UID."""
    return f"{sop_instance_uid}:{content_sha256}"


def _concerning(one: Object) -> tuple[str, ...]:
    version = of_version(one.sop_instance_uid, one.content_sha256)
    # Earlier releases have deleted every version of an object.
    return one.study_instance_uid, version, one.sop_instance_uid


class Tombstones:
    """What is remembered of some studies and objects."""

    def __init__(self, before_ns: Mapping[str, int]) -> None:
        self._before_ns = before_ns

    def __bool__(self) -> bool:
        return bool(self._before_ns)

    def before(self, one: Object) -> int:
        """Return before when a file of this object is deleted, in nanoseconds; 0: it is not."""
        return max(self._before_ns.get(uid, 0) for uid in _concerning(one))


def of(connection: Connection, objects: Iterable[Object]) -> Tombstones:
    """Return the tombstones that concern these objects."""
    uids = {uid for one in objects for uid in _concerning(one)}
    found = connection.execute(FOUND, {"uids": list(uids)})
    return Tombstones({row.uid: row.before_ns for row in found})


def latest(connection: Connection) -> int:
    """Return the latest moment of a deletion, in nanoseconds since 1970; 0 without any."""
    found: int = connection.execute(LATEST).scalar_one()
    return found


def forget_old(connection: Connection) -> None:
    """Forget deletions of which no file can come back any more."""
    connection.execute(FORGET_OLD, {"days": KEPT_DAYS})
