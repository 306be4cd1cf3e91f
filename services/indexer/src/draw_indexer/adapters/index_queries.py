"""Writes the index in PostgreSQL, one transaction at a time.

Writers take turns (`draw_shared.db.feed`): what a batch has read stays true until its commit, and
writers cannot deadlock with each other, however many indexers run. Reading headers costs more and
continues in parallel. Rows are written in the order of their keys all the same, because other
writers take no turn.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from pydantic_core import to_json
from sqlalchemy import CursorResult, TextClause
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session
from typing_extensions import override

from draw_indexer.adapters import index_statements as sql
from draw_indexer.adapters.deleted_objects import judge_arrivals, left_file, received_ns
from draw_indexer.models import (
    AnnouncedObject,
    Arrival,
    CurrentVersion,
    DepartedObjects,
    IndexChanges,
    PatientKey,
    Reason,
    Refused,
    Row,
    VersionConflict,
    Whereabouts,
)
from draw_indexer.ports.indexing import IndexRepository, IndexTransaction
from draw_shared.db import deletion, persons, tombstones
from draw_shared.db.deletion import LeftFile
from draw_shared.db.feed import (
    INSTANCE_CONFLICT,
    INSTANCE_STORED,
    PATIENT_AMBIGUOUS,
    take_turn,
)
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database
from draw_shared.dicom.query.keys import Level
from draw_shared.storage.removal import FileMark, StorageFiles
from draw_shared.wording import message


@contextmanager
def translate_refusals() -> Iterator[None]:
    """Turn PostgreSQL's rejections into Refused, without the values that they quote."""
    try:
        yield
    except DBAPIError as error:
        sqlstate = getattr(error.orig, "sqlstate", None)
        raise Refused(
            message("PostgreSQL refuses the rows: %(sqlstate)s", sqlstate=sqlstate)
        ) from None


class PostgresIndexRepository(IndexRepository):
    """Reads and writes the index."""

    def __init__(self, database: Database, files: StorageFiles) -> None:
        self._database = database
        self._files = files

    @override
    @contextmanager
    def writing(self) -> Iterator["PostgresIndexTransaction"]:
        with translate_refusals(), self._database.session() as session:
            require_served_schema(session)
            take_turn(session.connection())
            yield PostgresIndexTransaction(session, self._files)

    @override
    def look_up(self, objects: Sequence[AnnouncedObject]) -> Sequence[Whereabouts]:
        if not objects:
            return []
        with translate_refusals(), self._database.session() as session:
            connection = session.connection()
            values = {
                "numbers": list(range(len(objects))),
                "uids": [stored.sop_instance_uid for stored in objects],
                "hashes": [stored.content_sha256 for stored in objects],
                "paths": [stored.path for stored in objects],
            }
            # Deletion records before rows: a change between the two reads then shows in the rows.
            removing = set(connection.execute(sql.REMOVING, values).scalars())
            studies = {"studies": [stored.study_instance_uid for stored in objects]}
            recorded = dict(_tuples(connection.execute(sql.RECORDED, values | studies)))
            elsewhere = set(connection.execute(sql.SETTLED, values).scalars())
            found = tombstones.of(connection, objects)
        return [
            Whereabouts(needed=False)
            if number in elsewhere
            else Whereabouts(path=recorded[number])
            if number in recorded
            else Whereabouts(returning=True)
            if number in removing
            else Whereabouts(
                needed=max(received_ns(stored), stored.dated_ns) >= found.before(stored)
            )
            for number, stored in enumerate(objects)
        ]


class PostgresIndexTransaction(IndexTransaction):
    """The index within one transaction."""

    def __init__(self, session: Session, files: StorageFiles) -> None:
        self._session = session
        self._connection = session.connection()
        self._files = files
        self._deleted: list[tuple[LeftFile, FileMark]] = []

    @override
    def find_departed(self, arrivals: Sequence[Arrival]) -> DepartedObjects:
        departed, files = judge_arrivals(self._connection, self._files, arrivals)
        self._deleted += files
        return departed

    @override
    def versions(self, uids: Sequence[str]) -> Mapping[str, CurrentVersion]:
        found = self._execute(sql.VERSIONS, uids=list(uids)).mappings()
        return {row["sop_instance_uid"]: CurrentVersion(**row) for row in found}

    @override
    def series(self, uids: Sequence[str]) -> Mapping[str, Row]:
        found = self._execute(sql.SERIES, uids=list(uids)).scalars()
        return {row["series_instance_uid"]: row for row in found}

    @override
    def studies(self, uids: Sequence[str]) -> Mapping[str, Row]:
        found = self._execute(sql.STUDIES, uids=list(uids)).scalars()
        return {row["study_instance_uid"]: row for row in found}

    @override
    def patients(self, keys: Sequence[PatientKey]) -> Mapping[PatientKey, Row]:
        if not keys:
            return {}
        found = self._execute(
            sql.PATIENTS,
            ids=[key.patient_id for key in keys],
            issuers=[key.issuer for key in keys],
            studies=[key.unidentified_study_uid for key in keys],
        ).scalars()
        return {_patient_key(row): row for row in found}

    @override
    def write(self, changes: IndexChanges) -> Mapping[str, int]:
        written: Counter[str] = Counter()
        left = self._find_left(changes)
        known_patients = {n for (level, _), n in changes.ids.items() if level is Level.PATIENT}
        persons.adopt(self._connection, sorted(known_patients | changes.left_patients))
        self._write_parents(changes, written)
        # Before the batch's own objects are written; the batch knows what those name.
        self._review_series(changes)
        settled = self._write_instances(changes, written)
        known = {(uid, digest) for uid, digest, *_ in settled}
        self._recount(changes, left)
        self._review_persons(changes, left)
        known |= self._write_conflicts(changes, written)
        self._count_days(changes, known)
        self._execute(sql.NOTE_ARRIVALS, uids=changes.came)
        self._account(changes.brought)
        self._append_changes(changes)
        # A version that was set aside before it became current may have two files.
        copies = [LeftFile(path, uid, study, digest) for uid, digest, study, path in settled]
        copies += [left_file(stored) for stored in changes.doubtful]
        if copies or self._deleted:
            deletion.record_left(self._connection, self._deleted, copies, self._files)
        return written

    @override
    def commit(self) -> None:
        self._session.commit()

    def _execute(self, statement: TextClause, **values: Any) -> CursorResult[Any]:  # noqa: ANN401
        return self._connection.execute(statement, values)

    def _write(self, statement: TextClause, rows: Sequence[Row]) -> CursorResult[Any]:
        return self._execute(statement, rows=to_json(rows).decode())

    def _find_left(self, changes: IndexChanges) -> list[Mapping[str, Any]]:
        """Return series, study and patient of entities that lose objects."""
        if not changes.left_series and not changes.left_studies:
            return []
        found = self._execute(
            sql.LEFT, series=list(changes.left_series), studies=list(changes.left_studies)
        )
        return [dict(row) for row in found.mappings()]

    def _write_parents(self, changes: IndexChanges, written: Counter[str]) -> None:
        ids = changes.ids
        if changes.patients:
            rows = [_identified(key, row) for key, row in changes.patients.items()]
            for number, *key in _tuples(self._write(sql.UPSERT_PATIENTS, rows)):
                ids[Level.PATIENT, PatientKey(*key)] = number
        if changes.studies:
            rows = [
                row
                | {
                    "study_instance_uid": uid,
                    "patient_pk": ids[Level.PATIENT, changes.patient_of[uid]],
                }
                for uid, row in changes.studies.items()
            ]
            for number, uid in _tuples(self._write(sql.UPSERT_STUDIES, rows)):
                ids[Level.STUDY, uid] = number
        if changes.series:
            rows = [
                row
                | {
                    "series_instance_uid": uid,
                    "study_pk": ids[Level.STUDY, changes.study_of[uid]],
                }
                for uid, row in changes.series.items()
            ]
            for number, uid in _tuples(self._write(sql.UPSERT_SERIES, rows)):
                ids[Level.SERIES, uid] = number
        for table in ("patients", "studies", "series"):
            written[table] += len(getattr(changes, table))

    def _review_series(self, changes: IndexChanges) -> None:
        if changes.moved_series:
            self._execute(
                sql.REVIEW_SERIES,
                series=list(changes.moved_series),
                formers=list(changes.moved_series.values()),
                other_study=str(Reason.OTHER_STUDY),
                other_patient=str(Reason.OTHER_PATIENT),
            )

    def _write_instances(
        self, changes: IndexChanges, written: Counter[str]
    ) -> list[tuple[str, ...]]:
        """Write current versions; return those that were set aside before, with study and path."""
        if not changes.instances:
            return []
        rows = [
            row | {"series_pk": changes.ids[Level.SERIES, row["series_instance_uid"]]}
            for row in changes.instances
        ]
        self._write(sql.UPSERT_INSTANCES, rows)
        written["instances"] += len(rows)
        uids = [uid for uid, _ in changes.settled]
        hashes = [digest for _, digest in changes.settled]
        return _tuples(self._execute(sql.SETTLE, uids=uids, hashes=hashes))

    def _recount(self, changes: IndexChanges, left: list[Mapping[str, Any]]) -> None:
        ids = changes.ids
        series = {ids[Level.SERIES, uid] for uid in changes.study_of} | _column(left, "series")
        studies = {ids[Level.STUDY, uid] for uid in changes.patient_of} | _column(left, "study")
        patients = {ids[Level.PATIENT, key] for key in changes.patient_of.values()}
        patients |= _column(left, "patient") | changes.left_patients
        if not series:
            return
        reopened = {ids[Level.SERIES, uid] for uid in changes.reopened}
        reopened_studies = {ids[Level.STUDY, changes.study_of[uid]] for uid in changes.reopened}
        fresh = Counter(ids[Level.SERIES, a.stored.series_instance_uid] for a in changes.received)
        self._execute(
            sql.COUNT_SERIES, ids=sorted(series), reopened=sorted(reopened), **_numbers(fresh)
        )
        if left:
            self._execute(sql.DROP_EMPTY_SERIES, ids=sorted(_column(left, "series")))
        fresh_studies = Counter(
            ids[Level.STUDY, changes.study_of[a.stored.series_instance_uid]]
            for a in changes.received
        )
        self._execute(
            sql.COUNT_STUDIES,
            ids=sorted(studies),
            reopened=sorted(reopened_studies),
            **_numbers(fresh_studies),
        )
        if left:
            self._execute(sql.DROP_EMPTY_STUDIES, ids=sorted(_column(left, "study")))
        self._execute(sql.COUNT_PATIENTS, ids=sorted(patients))
        if left or changes.left_patients:
            self._execute(sql.DROP_EMPTY_PATIENTS, ids=sorted(patients))

    def _review_persons(self, changes: IndexChanges, left: list[Mapping[str, Any]]) -> None:
        """Write the persons named by patients' objects; record studies that became ambiguous."""
        patients = {key: changes.ids[Level.PATIENT, key] for key in changes.patient_of.values()}
        reviewed = {*patients.values(), *changes.left_patients, *_column(left, "patient")}
        if not reviewed:
            return
        ambiguous = persons.review(self._connection, sorted(reviewed))
        changes.ambiguous = sorted(
            uid for uid, key in changes.patient_of.items() if patients[key] in ambiguous
        )

    def _write_conflicts(
        self, changes: IndexChanges, written: Counter[str]
    ) -> set[tuple[str, str]]:
        """Record versions that are not current; return those that were known before."""
        known: set[tuple[str, str]] = set()
        if changes.moved_studies:
            self._execute(
                sql.REVIEW_PATIENTS,
                studies=sorted(changes.moved_studies),
                reason=str(Reason.OTHER_PATIENT),
            )
        if not changes.conflicts:
            return known
        of_version = {(c.sop_instance_uid, c.content_sha256): c for c in changes.conflicts}
        rows = [conflict.row for conflict in of_version.values()]
        result = self._execute(
            sql.UPSERT_CONFLICTS, rows=to_json(rows).decode(), latest=changes.latest
        )
        made = {(uid, digest) for fresh, uid, digest in _tuples(result) if fresh}
        written["instance_conflicts"] += len(made)
        changes.new_conflicts = [of_version[key] for key in sorted(made)]
        # A current version is here because it contradicts its study; that does not make it known.
        return (of_version.keys() - made - set(changes.settled)) | changes.displaced

    def _count_days(self, changes: IndexChanges, known: Collection[tuple[str, str]]) -> None:
        received = {
            (a.stored.sop_instance_uid, a.stored.content_sha256): a.stored for a in changes.received
        }
        new: dict[tuple[str, str], Any] = {
            (c.sop_instance_uid, c.content_sha256): c for c in changes.conflicts
        }
        # A current version that contradicts its study is in both lists, but it is one object.
        for key in changes.settled:
            new.pop(key, None)
        objects: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for key, version in (new | received).items():
            if key not in known:
                day = version.received_at.astimezone(UTC).date().isoformat()
                objects[day] += 1
                size[day] += version.size_bytes
        if objects:
            rows = [{"day": d, "objects": n, "size_bytes": size[d]} for d, n in objects.items()]
            self._write(sql.COUNT_DAYS, rows)

    def _account(self, brought: Sequence[AnnouncedObject]) -> None:
        """Account for the objects of associations; the series that take them are open by now."""
        known = [stored for stored in brought if stored.association_id]
        if known:
            self._execute(
                sql.NOTE_ASSOCIATIONS,
                associations=[stored.association_id for stored in known],
                titles=[stored.calling_ae for stored in known],
                series=[stored.series_instance_uid for stored in known],
                ordinals=[stored.association_ordinal for stored in known],
            )

    def _append_changes(self, changes: IndexChanges) -> None:
        stored = (arrival.stored for arrival in changes.received)
        self._append(
            INSTANCE_STORED,
            [
                (changes.study_of[s.series_instance_uid], s.series_instance_uid, s.sop_instance_uid)
                for s in stored
            ],
        )
        self._append(INSTANCE_CONFLICT, self._concerned_studies(changes.new_conflicts))
        self._append(PATIENT_AMBIGUOUS, [(uid, "", "") for uid in changes.ambiguous])

    def _concerned_studies(
        self, conflicts: Sequence[VersionConflict]
    ) -> list[tuple[str, str, str]]:
        """Return the studies that conflicts concern: those that objects name or are in."""
        if not conflicts:
            return []
        uids = sorted({conflict.sop_instance_uid for conflict in conflicts})
        found = {(study, "", uid) for uid, study in _tuples(self._execute(sql.HOMES, uids=uids))}
        return list(found | {(c.study_instance_uid, "", c.sop_instance_uid) for c in conflicts})

    def _append(self, kind: str, entries: Sequence[tuple[str, str, str]]) -> None:
        """Append changes, each with study, series and object, in a fixed order."""
        if entries:
            studies, series, uids = zip(*sorted(entries), strict=True)
            self._execute(
                sql.APPEND_CHANGES,
                kind=kind,
                studies=list(studies),
                series=list(series),
                uids=list(uids),
            )


def _numbers(fresh: Mapping[int, int]) -> dict[str, list[int]]:
    return {"fresh": list(fresh), "numbers": list(fresh.values())}


def _tuples(result: CursorResult[Any]) -> list[Any]:
    return [tuple(row) for row in result]


def _patient_key(row: Mapping[str, Any]) -> PatientKey:
    return PatientKey(row["patient_id"], row["issuer_of_patient_id"], row["unidentified_study_uid"])


def _identified(key: PatientKey, row: Row) -> Row:
    return row | {
        "patient_id": key.patient_id,
        "issuer_of_patient_id": key.issuer,
        "unidentified_study_uid": key.unidentified_study_uid,
    }


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> set[int]:
    return {row[name] for row in rows if row[name] is not None}
