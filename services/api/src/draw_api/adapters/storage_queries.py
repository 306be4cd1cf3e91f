"""Reads the usage of the storage from PostgreSQL, and deletes studies."""

from collections.abc import Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Executable, RowMapping, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.paging import Page, decode_cursor, encode_cursor, foreign_cursor, page_of
from draw_api.models.storage import (
    CleanUpPreview,
    Deleted,
    ExpiredStudy,
    GrowthDay,
    ModalityUsage,
    PatientUsage,
    StorageRules,
    StorageSums,
    StudyUsage,
)
from draw_api.ports.storage import StorageRepository
from draw_shared.db import clean_up, deletion
from draw_shared.db.feed import take_turn
from draw_shared.runtime.retention import Retention
from draw_shared.storage.removal import StorageFiles

RULES: Final = text(
    "SELECT document -> 'storage' AS storage FROM server_config ORDER BY version DESC LIMIT 1"
)
# An object that contradicts its study is a conflict and current, but it is one file.
SUMS: Final = text(
    """
    SELECT s.*, c.*, d.* FROM
        (SELECT coalesce(sum(number) FILTER (WHERE kind = 'studies'), 0)::bigint AS studies,
            coalesce(sum(instances) FILTER (WHERE kind = 'studies'), 0)::bigint AS instances,
            coalesce(sum(size_bytes) FILTER (WHERE kind = 'studies'), 0)::bigint
                AS current_bytes,
            coalesce(sum(number) FILTER (WHERE kind = 'held'), 0)::bigint AS held_studies,
            coalesce(sum(size_bytes) FILTER (WHERE kind = 'held'), 0)::bigint AS held_bytes
        FROM index_totals) s,
        (SELECT count(*) AS conflicts,
            coalesce(sum(c.size_bytes) FILTER (WHERE NOT EXISTS (SELECT FROM instances i
                WHERE i.sop_instance_uid = c.sop_instance_uid AND i.path = c.path OFFSET 0)), 0)
                ::bigint AS conflict_bytes
        FROM instance_conflicts c) c,
        (SELECT count(*) AS files_to_remove,
            coalesce(sum(size_bytes), 0)::bigint AS bytes_to_remove
        FROM (SELECT size_bytes FROM file_deletions
            UNION ALL SELECT size_bytes FROM file_copies) f) d
    """
)
GROWTH: Final = text(
    """
    SELECT d::date AS day, coalesce(r.objects, 0) AS objects,
        coalesce(r.size_bytes, 0) AS size_bytes
    FROM generate_series((now() AT TIME ZONE 'UTC')::date - CAST(:days AS int) + 1,
        (now() AT TIME ZONE 'UTC')::date, interval '1 day') d
    LEFT JOIN reception_days r ON r.day = d::date ORDER BY d
    """
)
FIRST_DAY: Final = text("SELECT min(day) FROM reception_days")
PATIENTS: Final = text(
    """
    SELECT id, patient_id, issuer_of_patient_id, name, ambiguous, study_count AS studies,
        instance_count AS instances, size_bytes FROM patients
    WHERE (size_bytes, id) < (:size, :id) ORDER BY size_bytes DESC, id DESC LIMIT :limit
    """
)
STUDIES: Final = text(
    """
    SELECT s.id, s.study_instance_uid, p.patient_id, p.name AS patient_name, s.study_date,
        s.description, s.modalities,
        s.instance_count AS instances, s.size_bytes, s.held, s.last_received_at
    FROM studies s JOIN patients p ON p.id = s.patient_pk
    WHERE (s.size_bytes, s.id) < (:size, :id)
    ORDER BY s.size_bytes DESC, s.id DESC LIMIT :limit
    """
)
MODALITIES: Final = text(
    "SELECT name AS modality, number AS series, instances, size_bytes FROM index_totals"
    " WHERE kind = 'modality' AND number > 0 ORDER BY size_bytes DESC, name"
)
NAMED: Final = text(
    """
    SELECT s.study_instance_uid, p.patient_id, p.name AS patient_name, s.study_date,
        s.description, s.modalities
    FROM studies s JOIN patients p ON p.id = s.patient_pk WHERE s.study_instance_uid = ANY(:uids)
    """
)
"""What names these studies to a person."""
HELD: Final = text("SELECT held FROM studies WHERE study_instance_uid = :uid FOR UPDATE")
HOLD: Final = text("UPDATE studies SET held = :held WHERE study_instance_uid = :uid")
# A delivery that waits for its next try finds nothing any more, and is superseded.
BUSY: Final = text(
    """
    SELECT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL
            AND NOT (kind = 'deliver' AND state = 'waiting')
            AND parameters ->> 'study_instance_uid' = :uid)
        OR EXISTS (SELECT FROM retrieve_items t JOIN jobs j ON j.id = t.job_id
            WHERE j.finished_at IS NULL AND t.study_instance_uid = :uid)
    """
)
MAX_BIGINT: Final = 2**63 - 1


class PostgresStorageRepository(StorageRepository):
    """What fills the storage, within one transaction."""

    def __init__(self, session: Session, root: Path) -> None:
        self._connection = session.connection()
        self._retention = Retention(root)
        self._files = StorageFiles(root)

    @override
    def rules(self) -> StorageRules:
        held = self._connection.execute(RULES).scalar() or {}
        names = StorageRules.__dataclass_fields__
        return StorageRules(**{name: held[name] for name in names if name in held})

    @override
    def sums(self) -> StorageSums:
        return StorageSums(**self._connection.execute(SUMS).mappings().one())

    @override
    def growth(self, days: int) -> Sequence[GrowthDay]:
        return [GrowthDay.model_validate(row) for row in self._rows(GROWTH, days=days)]

    @override
    def first_day(self) -> date | None:
        found: date | None = self._connection.execute(FIRST_DAY).scalar()
        return found

    @override
    def patients(self, cursor: str | None, limit: int) -> Page[PatientUsage]:
        rows = self._largest(PATIENTS, cursor, limit)
        return page_of([(_cursor(row), PatientUsage.model_validate(row)) for row in rows], limit)

    @override
    def studies(self, cursor: str | None, limit: int) -> Page[StudyUsage]:
        rows = self._largest(STUDIES, cursor, limit)
        return page_of([(_cursor(row), StudyUsage.model_validate(row)) for row in rows], limit)

    @override
    def modalities(self) -> Sequence[ModalityUsage]:
        return [ModalityUsage.model_validate(row) for row in self._rows(MODALITIES)]

    @override
    def expired(
        self, rules: StorageRules, now: datetime, cursor: str | None, limit: int
    ) -> CleanUpPreview:
        after = clean_up.BEGINNING_OF_ALL if cursor is None else _moment(cursor)
        found = self._retention.expired(self._connection, rules.retention_days, now, after=after)
        taken = list(islice(found or (), limit + 1))
        uids = [study.study_instance_uid for study in taken]
        named = {row["study_instance_uid"]: row for row in self._rows(NAMED, uids=uids)}
        rows = [
            (
                encode_cursor(study.last_received_at.isoformat(), study.id),
                ExpiredStudy(
                    **named[study.study_instance_uid],
                    instances=study.instances,
                    size_bytes=study.size_bytes,
                    last_received_at=study.last_received_at,
                ),
            )
            for study in taken
            if study.study_instance_uid in named
        ]
        page = page_of(rows, limit)
        return CleanUpPreview(
            enabled=rules.clean_up,
            retention_days=rules.retention_days,
            waiting=found is None,
            items=page.items,
            next_cursor=page.next_cursor,
        )

    @override
    def still_expired(self, study_instance_uid: str, retention_days: int, now: datetime) -> bool:
        return self._retention.still_expired(
            self._connection, study_instance_uid, retention_days, now
        )

    @override
    def held(self, study_instance_uid: str) -> bool | None:
        # In the order in which writers of the index lock: first the turn, then rows.
        take_turn(self._connection)
        was: bool | None = self._connection.execute(HELD, {"uid": study_instance_uid}).scalar()
        return was

    @override
    def set_held(self, study_instance_uid: str, *, held: bool) -> None:
        self._connection.execute(HOLD, {"uid": study_instance_uid, "held": held})

    @override
    def is_busy(self, study_instance_uid: str) -> bool:
        return bool(self._connection.execute(BUSY, {"uid": study_instance_uid}).scalar())

    @override
    def delete(self, study_instance_uid: str, by: str) -> Deleted | None:
        gone = deletion.delete_study(self._connection, study_instance_uid, self._files, by=by)
        if gone is None:
            return None
        return Deleted(
            study_instance_uid=gone.study_instance_uid,
            instances=gone.instances,
            size_bytes=gone.size_bytes,
            files=gone.files,
        )

    def _largest(
        self, statement: Executable, cursor: str | None, limit: int
    ) -> Sequence[RowMapping]:
        size, key = decode_cursor(cursor, (int, int)) if cursor else (MAX_BIGINT, MAX_BIGINT)
        return self._rows(statement, size=size, id=key, limit=limit + 1)

    def _rows(self, statement: Executable, **values: Any) -> Sequence[RowMapping]:  # noqa: ANN401
        return self._connection.execute(statement, values).mappings().all()


def _cursor(row: RowMapping) -> str:
    return encode_cursor(row["size_bytes"], row["id"])


def _moment(cursor: str) -> tuple[datetime, int]:
    moment, key = decode_cursor(cursor, (str, int))
    try:
        return datetime.fromisoformat(str(moment)), int(key)
    except ValueError as error:
        raise foreign_cursor() from error
