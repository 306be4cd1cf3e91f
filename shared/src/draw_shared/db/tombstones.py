"""Remembers deletions, so that a deleted object returns only if it is received again.

A deletion covers every file that was last written or claimed before it, by the clock of the
storage volume (`StorageFiles.moment`). The volume's host sets the modification time; renames and
backups that keep times preserve it, and a receiver renews it when it finds its bytes already
there. A clock that is set back does not matter (`draw_shared.storage.latest_deletion`).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Protocol

from sqlalchemy import Connection, text

KEPT_DAYS: Final = 3653
"""Ten years: longer than the life of any backup from which a deleted file could return."""

# A second deletion must not let files of the first one return.
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
    """The attributes that decide which tombstones concern an object."""

    @property
    def study_instance_uid(self) -> str:
        """The study that the object names."""

    @property
    def sop_instance_uid(self) -> str:
        """The object's own UID."""

    @property
    def content_sha256(self) -> str:
        """The hash that identifies the version."""


def place(connection: Connection, uids: Collection[str], before_ns: int, deleted_by: str) -> None:
    """Record that files of these studies or versions older than `before_ns` are deleted."""
    connection.execute(PLACE, {"uids": sorted(uids), "before": before_ns, "deleted_by": deleted_by})


def of_version(sop_instance_uid: str, content_sha256: str) -> str:
    """Return the key that the tombstone of one object version has in place of a UID."""
    return f"{sop_instance_uid}:{content_sha256}"


def _concerning(one: Object) -> tuple[str, ...]:
    version = of_version(one.sop_instance_uid, one.content_sha256)
    # Tombstones of earlier releases cover every version of an object.
    return one.study_instance_uid, version, one.sop_instance_uid


class Tombstones:
    """The tombstones of some studies and objects."""

    def __init__(self, before_ns: Mapping[str, int]) -> None:
        self._before_ns = before_ns

    def __bool__(self) -> bool:
        return bool(self._before_ns)

    def before(self, one: Object) -> int:
        """Return the time before which files of this object are deleted, in ns; 0 means never."""
        return max(self._before_ns.get(uid, 0) for uid in _concerning(one))


def of(connection: Connection, objects: Iterable[Object]) -> Tombstones:
    """Return the tombstones that concern these objects."""
    uids = {uid for one in objects for uid in _concerning(one)}
    found = connection.execute(FOUND, {"uids": list(uids)})
    return Tombstones({row.uid: row.before_ns for row in found})


def latest(connection: Connection) -> int:
    """Return the time of the latest deletion, in nanoseconds since 1970; 0 without any."""
    found: int = connection.execute(LATEST).scalar_one()
    return found


def forget_old(connection: Connection) -> None:
    """Remove the tombstones whose files cannot return any more."""
    connection.execute(FORGET_OLD, {"days": KEPT_DAYS})
