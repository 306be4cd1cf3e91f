"""Deletes studies so that a crash cannot make the index and the disk disagree for long.

Rows go first, and the same transaction records which files have to go (`file_deletions`).
From its commit on, no query finds the study; the files go afterwards, and a record stays
until its file is gone. Whatever is killed when: every row has its file, and every file
that has neither row nor record was not yet indexed.

Records of removed files are kept for a while. An indexer that had read a file's header
before, and writes its row only now, is found by them (`resurrected`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import Connection, text

from draw_shared.db.feed import INSTANCE_LOST, STUDY_DELETED, take_turn

TOMBSTONE_MINUTES: Final = 30
"""Longer than an indexer may be between reading headers and writing their rows."""


class Mark(Protocol):
    """Which file is meant, as the storage tells it."""

    @property
    def inode(self) -> int:
        """The file's number."""

    @property
    def modified_ns(self) -> int:
        """When it was last written or claimed."""

    @property
    def size_bytes(self) -> int:
        """How large it is."""


Marking = Callable[[str], Mark | None]
"""Looks at the file of a stored path."""


@dataclass(frozen=True, slots=True)
class DeletedStudy:
    """What went."""

    study_instance_uid: str
    instances: int
    size_bytes: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PendingRemoval:
    """One file that has to go."""

    id: int
    path: str
    sop_instance_uid: str
    inode: int
    modified_ns: int
    size_bytes: int


STUDY: Final = text(
    "SELECT id, patient_pk, instance_count, size_bytes FROM studies"
    " WHERE study_instance_uid = :uid FOR UPDATE"
)
FILES: Final = text(
    "SELECT i.sop_instance_uid, i.path FROM instances i JOIN series r ON r.id = i.series_pk"
    " WHERE r.study_pk = :study"
)
DELETE_CONFLICTS: Final = text(
    """
    DELETE FROM instance_conflicts WHERE study_instance_uid = :uid OR sop_instance_uid IN (
        SELECT i.sop_instance_uid FROM instances i JOIN series r ON r.id = i.series_pk
        WHERE r.study_pk = :study)
    RETURNING sop_instance_uid, path
    """
)
DELETE_STUDY: Final = text("DELETE FROM studies WHERE id = :study")
# An object that contradicts the study it names is a conflict of the one and current in the other.
STILL_NAMED: Final = text(
    """
    SELECT path FROM instances WHERE sop_instance_uid = ANY(:uids)
    UNION SELECT path FROM instance_conflicts WHERE sop_instance_uid = ANY(:uids)
    """
)
RECORD: Final = text(
    """
    INSERT INTO file_deletions
        (path, sop_instance_uid, inode, modified_ns, size_bytes, study_instance_uid)
    SELECT *, :study FROM unnest(CAST(:paths AS text[]), CAST(:uids AS text[]),
        CAST(:inodes AS bigint[]), CAST(:modified AS bigint[]), CAST(:sizes AS bigint[]))
    """
)
APPEND_CHANGE: Final = text(
    "INSERT INTO changes (kind, study_instance_uid, sop_instance_uid) VALUES (:kind, :study, :sop)"
)
PENDING: Final = text(
    """
    SELECT id, path, sop_instance_uid, inode, modified_ns, size_bytes FROM file_deletions
    WHERE removed_at IS NULL ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
REMOVED: Final = text("UPDATE file_deletions SET removed_at = now() WHERE id = ANY(:ids)")
FORGET: Final = text("DELETE FROM file_deletions WHERE id = ANY(:ids)")
FORGET_OLD: Final = text(
    "DELETE FROM file_deletions WHERE removed_at < now() - make_interval(mins => :minutes)"
)
RESURRECTED: Final = text(
    """
    SELECT i.sop_instance_uid, i.path FROM file_deletions d
    JOIN instances i ON i.sop_instance_uid = d.sop_instance_uid AND i.path = d.path
    WHERE d.removed_at IS NOT NULL
    """
)
PARENTS: Final = text(
    """
    SELECT DISTINCT r.id AS series, s.id AS study, s.patient_pk AS patient
    FROM instances i JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk
    WHERE i.sop_instance_uid = ANY(:uids)
    """
)
DELETE_INSTANCES: Final = text(
    """
    WITH named AS (
        SELECT i.id, i.sop_instance_uid, s.study_instance_uid
        FROM unnest(CAST(:uids AS text[]), CAST(:paths AS text[])) AS k (uid, path)
        JOIN instances i ON i.sop_instance_uid = k.uid AND i.path = k.path
        JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk),
    gone AS (DELETE FROM instances i USING named n WHERE i.id = n.id)
    SELECT sop_instance_uid, study_instance_uid FROM named
    """
)
COUNT_SERIES: Final = text(
    """
    UPDATE series r SET instance_count = c.number, size_bytes = c.size, sop_classes = c.classes,
        last_received_at = coalesce(c.latest, r.last_received_at), updated_at = now()
    FROM (SELECT w.id, count(i.id) AS number, coalesce(sum(i.size_bytes), 0) AS size,
            max(i.received_at) AS latest,
            coalesce(array_agg(DISTINCT i.sop_class_uid ORDER BY i.sop_class_uid)
                FILTER (WHERE i.id IS NOT NULL), '{}') AS classes
        FROM series w LEFT JOIN instances i ON i.series_pk = w.id
        WHERE w.id = ANY(:series) GROUP BY w.id) c
    WHERE c.id = r.id
    """
)
DROP_EMPTY_SERIES: Final = text("DELETE FROM series WHERE id = ANY(:series) AND instance_count = 0")
COUNT_STUDIES: Final = text(
    """
    UPDATE studies s SET series_count = c.series, instance_count = c.number,
        size_bytes = c.size, modalities = c.modalities, sop_classes = c.classes,
        last_received_at = coalesce(c.latest, s.last_received_at), updated_at = now()
    FROM (SELECT w.id, count(r.id) AS series, coalesce(sum(r.instance_count), 0) AS number,
            coalesce(sum(r.size_bytes), 0) AS size, max(r.last_received_at) AS latest,
            coalesce(array_agg(DISTINCT r.modality ORDER BY r.modality)
                FILTER (WHERE r.modality <> ''), '{}') AS modalities,
            (SELECT coalesce(array_agg(DISTINCT u ORDER BY u), '{}')
                FROM series k, unnest(k.sop_classes) u WHERE k.study_pk = w.id) AS classes
        FROM studies w LEFT JOIN series r ON r.study_pk = w.id
        WHERE w.id = ANY(:studies) GROUP BY w.id) c
    WHERE c.id = s.id
    """
)
DROP_EMPTY_STUDIES: Final = text(
    "DELETE FROM studies WHERE id = ANY(:studies) AND series_count = 0"
)
COUNT_PATIENTS: Final = text(
    """
    UPDATE patients p SET study_count = c.studies, series_count = c.series,
        instance_count = c.number, size_bytes = c.size, updated_at = now()
    FROM (SELECT w.id, count(s.id) AS studies, coalesce(sum(s.series_count), 0) AS series,
            coalesce(sum(s.instance_count), 0) AS number, coalesce(sum(s.size_bytes), 0) AS size
        FROM patients w LEFT JOIN studies s ON s.patient_pk = w.id
        WHERE w.id = ANY(:patients) GROUP BY w.id) c
    WHERE c.id = p.id
    """
)
DROP_EMPTY_PATIENTS: Final = text(
    "DELETE FROM patients WHERE id = ANY(:patients) AND study_count = 0"
)


def delete_study(
    connection: Connection, study_instance_uid: str, marking: Marking
) -> DeletedStudy | None:
    """Delete a study with everything set aside for it, and record its files; caller commits.

    Return what went, or None when there is no such study. Waits for the index's turn.
    """
    take_turn(connection)
    study = connection.execute(STUDY, {"uid": study_instance_uid}).first()
    if study is None:
        return None
    values = {"study": study.id, "uid": study_instance_uid}
    files = {row.path: row.sop_instance_uid for row in connection.execute(FILES, values)}
    aside = connection.execute(DELETE_CONFLICTS, values)
    files |= {row.path: row.sop_instance_uid for row in aside}
    connection.execute(DELETE_STUDY, values)
    _count_patients(connection, [study.patient_pk])
    paths = _record(connection, study_instance_uid, files, marking)
    connection.execute(
        APPEND_CHANGE, {"kind": STUDY_DELETED, "study": study_instance_uid, "sop": ""}
    )
    return DeletedStudy(study_instance_uid, study.instance_count, study.size_bytes, paths)


def delete_instances(connection: Connection, lost: Sequence[tuple[str, str]]) -> int:
    """Delete rows, given by UID and path, that have no file; count anew; caller commits."""
    take_turn(connection)
    values: dict[str, Any] = {"uids": [uid for uid, _ in lost], "paths": [path for _, path in lost]}
    parents = connection.execute(PARENTS, values).all()
    deleted = connection.execute(DELETE_INSTANCES, values).all()
    series = {"series": sorted({row.series for row in parents})}
    studies = {"studies": sorted({row.study for row in parents})}
    connection.execute(COUNT_SERIES, series)
    connection.execute(DROP_EMPTY_SERIES, series)
    connection.execute(COUNT_STUDIES, studies)
    connection.execute(DROP_EMPTY_STUDIES, studies)
    _count_patients(connection, sorted({row.patient for row in parents}))
    for row in deleted:
        connection.execute(
            APPEND_CHANGE,
            {"kind": INSTANCE_LOST, "study": row.study_instance_uid, "sop": row.sop_instance_uid},
        )
    return len(deleted)


def pending_removals(connection: Connection, most: int) -> list[PendingRemoval]:
    """Return files that have to go and that no other process is at, for this transaction.

    Waits for the index's turn: what is named by a row again is left out, and stays so.
    """
    take_turn(connection)
    found = [PendingRemoval(*row) for row in connection.execute(PENDING, {"most": most})]
    named = _named(connection, [removal.sop_instance_uid for removal in found])
    again = [removal.id for removal in found if removal.path in named]
    if again:
        connection.execute(FORGET, {"ids": again})
    return [removal for removal in found if removal.path not in named]


def settle_removals(connection: Connection, gone: Sequence[int], kept: Sequence[int]) -> None:
    """Note which files are gone, and forget those that stay."""
    connection.execute(REMOVED, {"ids": list(gone)})
    connection.execute(FORGET, {"ids": list(kept)})


def resurrected(connection: Connection) -> list[tuple[str, str]]:
    """Return rows, by UID and path, whose file may have gone before they were written."""
    connection.execute(FORGET_OLD, {"minutes": TOMBSTONE_MINUTES})
    return [(row.sop_instance_uid, row.path) for row in connection.execute(RESURRECTED)]


def _record(
    connection: Connection, study_instance_uid: str, files: dict[str, str], marking: Marking
) -> tuple[str, ...]:
    named = _named(connection, list(files.values()))
    marks = {path: marking(path) for path in files if path not in named}
    found = {path: mark for path, mark in marks.items() if mark is not None}
    if found:
        connection.execute(
            RECORD,
            {
                "study": study_instance_uid,
                "paths": list(found),
                "uids": [files[path] for path in found],
                "inodes": [mark.inode for mark in found.values()],
                "modified": [mark.modified_ns for mark in found.values()],
                "sizes": [mark.size_bytes for mark in found.values()],
            },
        )
    return tuple(found)


def _named(connection: Connection, uids: Collection[str]) -> set[str]:
    return set(connection.execute(STILL_NAMED, {"uids": list(uids)}).scalars()) if uids else set()


def _count_patients(connection: Connection, patients: Sequence[int]) -> None:
    connection.execute(COUNT_PATIENTS, {"patients": list(patients)})
    connection.execute(DROP_EMPTY_PATIENTS, {"patients": list(patients)})
