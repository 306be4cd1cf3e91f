"""Deletes studies so that a crash cannot make the index and the disk disagree for long.

One transaction deletes the rows, records the files to remove (`file_deletions`) and places the
study's tombstone (`draw_shared.db.tombstones`). After its commit no query finds the study. The
files are removed afterwards, and each record stays until its file is gone. A crash before the
commit changes nothing; a crash after it only delays the removal, which any process continues from
the records. At every moment each row has its file, and a file with neither row nor record has not
been indexed yet.

`deleted_studies` keeps whose study it was, because the log names no patient.

The tombstone covers files of the study that are not indexed yet, and old files that come back
later, for example from a backup.

Some objects were set aside because of the deleted ones but belong to another study. The
transaction marks them for announcement, and they become current.

Concurrency: writers of the index take turns (`draw_shared.db.feed`), so nothing is indexed into
the study during the transaction. Several processes may remove files at the same time; each takes
records that no other process has locked.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, Protocol

from sqlalchemy import Connection, text

from draw_shared.db import persons, tombstones
from draw_shared.db.feed import INSTANCE_LOST, STUDY_DELETED, take_turn


class Mark(Protocol):
    """Identifies one file, as reported by the storage."""

    @property
    def inode(self) -> int:
        """The file's inode number."""

    @property
    def modified_ns(self) -> int:
        """When the file was last written or claimed, in nanoseconds."""

    @property
    def size_bytes(self) -> int:
        """The file's size."""


class Files(Protocol):
    """The files of objects on the storage volume."""

    def mark(self, path: str) -> Mark | None:
        """Return the mark of the file that is at a stored path now, or None without a file."""

    def renew(self, path: str, modified_ns: int) -> None:
        """Raise the modification time of a file to this one, unless it is later already."""

    def wanted_ns(self, path: str) -> int:
        """Return when a file was last received, in nanoseconds; 0 without a file."""

    def moment(self, given_ns: int | None = None) -> int:
        """Return the time of a deletion in nanoseconds: now, or as given.

        Files received after this call are never older.
        """


@dataclass(frozen=True, slots=True)
class DeletedStudy:
    """What a deletion has removed from the index."""

    study_instance_uid: str
    instances: int
    size_bytes: int
    files: int
    """How many files will be removed, including versions set aside and second copies."""


@dataclass(frozen=True, slots=True)
class LostInstances:
    """What went from the index because its files were lost."""

    instances: int
    studies: tuple[str, ...]
    """UIDs of the studies that have nothing left."""


@dataclass(frozen=True, slots=True)
class LeftFile:
    """A file to which no row refers any more."""

    path: str
    sop_instance_uid: str
    study_instance_uid: str
    content_sha256: str


@dataclass(frozen=True, slots=True)
class PendingRemoval:
    """One file that has to be removed."""

    id: int
    path: str
    sop_instance_uid: str
    study_instance_uid: str
    inode: int
    modified_ns: int
    size_bytes: int
    named: bool = False
    """Whether a row refers to the path again; then the file there stays."""


STUDY: Final = text(
    "SELECT id, patient_pk, instance_count, size_bytes FROM studies"
    " WHERE study_instance_uid = :uid FOR UPDATE"
)
FILES: Final = text(
    "SELECT i.sop_instance_uid, i.path FROM instances i JOIN series r ON r.id = i.series_pk"
    " WHERE r.study_pk = :study"
)
# An object that contradicts the study it names is a conflict there and current in another study.
DELETE_CONFLICTS: Final = text(
    """
    DELETE FROM instance_conflicts WHERE id = ANY(ARRAY(
        SELECT c.id FROM instance_conflicts c WHERE c.study_instance_uid = :uid
            AND NOT EXISTS (SELECT FROM instances i JOIN series r ON r.id = i.series_pk
                WHERE i.sop_instance_uid = c.sop_instance_uid
                    AND i.content_sha256 = c.content_sha256
                    AND r.study_pk IS DISTINCT FROM CAST(:study AS bigint))
        UNION SELECT c.id FROM series r JOIN instances i ON i.series_pk = r.id
            JOIN instance_conflicts c ON c.sop_instance_uid = i.sop_instance_uid
                AND c.content_sha256 = i.content_sha256
        WHERE r.study_pk = CAST(:study AS bigint)))
    RETURNING sop_instance_uid, path, study_instance_uid,
        encode(content_sha256, 'hex') AS content_sha256
    """
)
NAMING: Final = text("SELECT path FROM instance_conflicts WHERE study_instance_uid = :uid")
# Copies of objects that were in the study but name another study go as well.
COPIES: Final = text(
    "SELECT count(DISTINCT path) FROM file_copies"
    " WHERE study_instance_uid = :uid OR sop_instance_uid = ANY(:uids)"
)
REMEMBER: Final = text(
    """
    INSERT INTO deleted_studies
        (study_instance_uid, patient_id, study_date, description, modalities, deleted_by)
    SELECT s.study_instance_uid, p.patient_id, s.study_date, s.description, s.modalities,
        CAST(:by AS text)
    FROM studies s JOIN patients p ON p.id = s.patient_pk WHERE s.id = ANY(:studies)
    """
)
"""Whose study it was; the transaction log and the tombstone name no patient."""
DELETE_STUDY: Final = text("DELETE FROM studies WHERE id = :study")
NEXT_VERSIONS: Final = text(
    """
    UPDATE instance_conflicts c SET to_announce = true
    WHERE c.sop_instance_uid = ANY(:uids) AND NOT EXISTS
        (SELECT FROM instances i WHERE i.sop_instance_uid = c.sop_instance_uid)
    """
)
"""Versions set aside for a deleted current object: they are announced, and one becomes current."""
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
    SELECT * FROM unnest(CAST(:paths AS text[]), CAST(:uids AS text[]),
        CAST(:inodes AS bigint[]), CAST(:modified AS bigint[]), CAST(:sizes AS bigint[]),
        CAST(:studies AS text[]))
    """
)
RECORD_COPIES: Final = text(
    """
    INSERT INTO file_copies (path, sop_instance_uid, inode, modified_ns, size_bytes,
        study_instance_uid, content_sha256)
    SELECT p, u, i, m, s, t, decode(h, 'hex') FROM unnest(CAST(:paths AS text[]),
        CAST(:uids AS text[]), CAST(:inodes AS bigint[]), CAST(:modified AS bigint[]),
        CAST(:sizes AS bigint[]), CAST(:studies AS text[]), CAST(:hashes AS text[]))
        AS k (p, u, i, m, s, t, h)
    """
)
APPEND_CHANGE: Final = text(
    "INSERT INTO changes (kind, study_instance_uid, sop_instance_uid) VALUES (:kind, :study, :sop)"
)
PENDING: Final = text(
    """
    SELECT id, path, sop_instance_uid, study_instance_uid, inode, modified_ns, size_bytes
    FROM file_deletions
    ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
FORGET: Final = text("DELETE FROM file_deletions WHERE id = ANY(:ids)")
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
        SELECT i.id, i.sop_instance_uid, i.path, s.study_instance_uid
        FROM unnest(CAST(:uids AS text[]), CAST(:paths AS text[])) AS k (uid, path)
        JOIN instances i ON i.sop_instance_uid = k.uid AND i.path = k.path
        JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk),
    gone AS (DELETE FROM instances i USING named n WHERE i.id = n.id),
    contradicting AS (DELETE FROM instance_conflicts c USING named n
        WHERE c.sop_instance_uid = n.sop_instance_uid AND c.path = n.path)
    SELECT sop_instance_uid, study_instance_uid FROM named
    """
)
COUNT_SERIES: Final = text(
    """
    UPDATE series r SET instance_count = c.number, size_bytes = c.size, sop_classes = c.classes,
        persons = coalesce(c.persons, '{}'),
        last_received_at = coalesce(c.latest, r.last_received_at), updated_at = now()
    FROM (SELECT w.id, count(i.id) AS number, coalesce(sum(i.size_bytes), 0) AS size,
            max(i.received_at) AS latest,
            (array_agg(DISTINCT i.stated_person || chr(9) || i.stated_patient
                ORDER BY i.stated_person || chr(9) || i.stated_patient)
                FILTER (WHERE i.stated_person IS NOT NULL))[1:500] AS persons,
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
        persons = coalesce((SELECT (array_agg(DISTINCT k.said ORDER BY k.said))[1:500]
            FROM series r, unnest(r.persons) AS k (said) WHERE r.study_pk = s.id), s.persons),
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
EMPTY_STUDIES: Final = text(
    "SELECT id, study_instance_uid FROM studies WHERE id = ANY(:studies) AND series_count = 0"
)
DROP_EMPTY_STUDIES: Final = text("DELETE FROM studies WHERE id = ANY(:studies)")
FORGET_OLD_STUDIES: Final = text("DELETE FROM deleted_studies WHERE deleted_at < :first")


def delete_study(
    connection: Connection,
    study_instance_uid: str,
    files: Files,
    *,
    by: str,
    before_ns: int | None = None,
) -> DeletedStudy | None:
    """Delete a study and all versions set aside, and record its files; the caller commits.

    The tombstone also covers files of the study that are not indexed yet: all received so far,
    or only those older than `before_ns`. Return None when neither rows nor versions set aside
    exist. Waits for the index's turn.
    """
    take_turn(connection)
    study = connection.execute(STUDY, {"uid": study_instance_uid}).first()
    values = {"study": study and study.id, "uid": study_instance_uid}
    going = {row.path: row.sop_instance_uid for row in connection.execute(FILES, values)}
    aside = connection.execute(DELETE_CONFLICTS, values).all()
    going |= {row.path: row.sop_instance_uid for row in aside}
    if study is not None:
        connection.execute(REMEMBER, {"studies": [study.id], "by": by})
        connection.execute(DELETE_STUDY, values)
        persons.recount(connection, [study.patient_pk])
    elif not aside:
        return None
    left = _left(connection, going, study_instance_uid)
    number = record_files(connection, left, files, before_ns=before_ns)
    # Objects that were set aside in this study but name another one.
    foreign = [row for row in aside if row.study_instance_uid != study_instance_uid]
    # Their records stay; an object without a row counts as deleted.
    named = {"uids": [row.sop_instance_uid for row in foreign]}
    number += connection.execute(COPIES, values | named).scalar_one()
    moment = files.moment(before_ns)
    # Their other versions, indexed or not, belong to the study that they name.
    versions = {tombstones.of_version(row.sop_instance_uid, row.content_sha256) for row in foreign}
    tombstones.place(connection, {study_instance_uid, *versions}, moment, by)
    connection.execute(NEXT_VERSIONS, {"uids": list(going.values())})
    # The object names this study but is current in another: the tombstone must not cover it.
    for path in connection.execute(NAMING, values).scalars():
        files.renew(path, moment)
    connection.execute(
        APPEND_CHANGE, {"kind": STUDY_DELETED, "study": study_instance_uid, "sop": ""}
    )
    objects, size = (study.instance_count, study.size_bytes) if study else (0, 0)
    return DeletedStudy(study_instance_uid, objects, size, number)


def _left(connection: Connection, going: Mapping[str, str], study: str) -> list[LeftFile]:
    """Return those of these files, given by path, to which no row refers any more."""
    named = named_paths(connection, list(going.values()))
    return [LeftFile(path, uid, study, "") for path, uid in going.items() if path not in named]


def recall_latest(connection: Connection, files: Files) -> None:
    """Write the latest deletion to the volume, after a restore of the volume or the index."""
    latest = tombstones.latest(connection)
    take_turn(connection)
    files.moment(latest)


def delete_instances(
    connection: Connection, lost: Sequence[tuple[str, str]], *, by: str
) -> LostInstances:
    """Delete rows of lost files, by UID and path; versions set aside follow; the caller commits."""
    take_turn(connection)
    values: dict[str, Any] = {"uids": [uid for uid, _ in lost], "paths": [path for _, path in lost]}
    parents = connection.execute(PARENTS, values).all()
    deleted = connection.execute(DELETE_INSTANCES, values).all()
    connection.execute(NEXT_VERSIONS, {"uids": [row.sop_instance_uid for row in deleted]})
    series = {"series": sorted({row.series for row in parents})}
    studies = {"studies": sorted({row.study for row in parents})}
    connection.execute(COUNT_SERIES, series)
    connection.execute(DROP_EMPTY_SERIES, series)
    connection.execute(COUNT_STUDIES, studies)
    empty = connection.execute(EMPTY_STUDIES, studies).all()
    gone = {"studies": [row.id for row in empty]}
    connection.execute(REMEMBER, gone | {"by": by})
    connection.execute(DROP_EMPTY_STUDIES, gone)
    persons.recount(connection, sorted({row.patient for row in parents}))
    for row in deleted:
        connection.execute(
            APPEND_CHANGE,
            {"kind": INSTANCE_LOST, "study": row.study_instance_uid, "sop": row.sop_instance_uid},
        )
    return LostInstances(len(deleted), tuple(row.study_instance_uid for row in empty))


def forget_old(connection: Connection, first: date) -> None:
    """Forget whose studies were deleted before this day, as the transaction log forgets them."""
    connection.execute(FORGET_OLD_STUDIES, {"first": first})


def pending_removals(connection: Connection, most: int) -> list[PendingRemoval]:
    """Lock and return files to remove that no other process has locked.

    Waits for the index's turn, so `named` stays true until this transaction ends.
    """
    take_turn(connection)
    found = [PendingRemoval(*row) for row in connection.execute(PENDING, {"most": most})]
    named = named_paths(connection, [removal.sop_instance_uid for removal in found])
    return [replace(removal, named=removal.path in named) for removal in found]


def settle_removals(connection: Connection, done: Sequence[int]) -> None:
    """Delete the records of files that are removed or that stay."""
    if done:
        connection.execute(FORGET, {"ids": list(done)})


def record_files(
    connection: Connection,
    left: Sequence[LeftFile],
    files: Files,
    *,
    before_ns: int | None = None,
) -> int:
    """Record files to remove, except those received since `before_ns`; return their number."""
    found = _mark_files(left, files)
    if before_ns is not None:
        found = [(file, mark) for file, mark in found if files.wanted_ns(file.path) < before_ns]
    if found:
        connection.execute(RECORD, _columns(found))
    return len(found)


def record_left(
    connection: Connection,
    deleted: Sequence[tuple[LeftFile, Mark]],
    copies: Sequence[LeftFile],
    files: Files,
) -> None:
    """Record announced files to which no row refers: deleted ones and copies."""
    uids = {file.sop_instance_uid for file, _ in deleted}
    named = named_paths(connection, uids.union(file.sop_instance_uid for file in copies))
    gone = [(file, mark) for file, mark in deleted if file.path not in named]
    if gone:
        connection.execute(RECORD, _columns(gone))
    doubled = {file.path: file for file in copies if file.path not in named}
    found = _mark_files(list(doubled.values()), files)
    if found:
        hashes = [file.content_sha256 for file, _ in found]
        connection.execute(RECORD_COPIES, _columns(found) | {"hashes": hashes})


def _mark_files(left: Sequence[LeftFile], files: Files) -> list[tuple[LeftFile, Mark]]:
    marks = ((file, files.mark(file.path)) for file in left)
    return [(file, mark) for file, mark in marks if mark is not None]


def _columns(found: Sequence[tuple[LeftFile, Mark]]) -> dict[str, Any]:
    return {
        "paths": [file.path for file, _ in found],
        "uids": [file.sop_instance_uid for file, _ in found],
        "studies": [file.study_instance_uid for file, _ in found],
        "inodes": [mark.inode for _, mark in found],
        "modified": [mark.modified_ns for _, mark in found],
        "sizes": [mark.size_bytes for _, mark in found],
    }


def named_paths(connection: Connection, uids: Collection[str]) -> set[str]:
    """Return the paths in the rows of these objects."""
    return set(connection.execute(STILL_NAMED, {"uids": list(uids)}).scalars()) if uids else set()
