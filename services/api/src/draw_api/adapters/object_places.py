"""Reads the paths of objects in series and studies from PostgreSQL."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.adapters.archive_queries import PostgresArchiveRepository
from draw_api.models.archive import StoredObject
from draw_api.models.objects import MAX_FRAMES, StoredFile, StoredSlice
from draw_api.ports.objects import ObjectRepository

MAX_SLICES: Final = 5000

SLICES: Final = text(
    """
    SELECT i.sop_instance_uid, i.instance_number, i.sop_class_uid, i.transfer_syntax_uid,
        i.size_bytes, i.header_damage, coalesce(
            substring(i.attributes->>'NumberOfFrames' FROM '^ *([0-9]{1,9})'), '1')::int AS frames
    FROM instances i JOIN series r ON r.id = i.series_pk
    WHERE r.series_instance_uid = :uid
    ORDER BY i.instance_number NULLS LAST, i.id LIMIT :most
    """
)
FILES: Final = text(
    """
    SELECT i.path, i.size_bytes, r.modality, r.series_number, dense_rank() OVER (ORDER BY r.id)
        AS series_rank, i.sop_instance_uid
    FROM instances i JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk
    WHERE s.study_instance_uid = :uid ORDER BY r.id, i.instance_number NULLS LAST, i.id
    """
)
SERIES_FILES: Final = text(
    """
    SELECT i.path, i.size_bytes, i.sop_instance_uid
    FROM instances i JOIN series r ON r.id = i.series_pk
    WHERE r.series_instance_uid = :uid ORDER BY i.instance_number NULLS LAST, i.id
    """
)


class PostgresObjectRepository(ObjectRepository):
    """The paths of current objects, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @override
    def stored_object(self, sop_instance_uid: str) -> StoredObject | None:
        return PostgresArchiveRepository(self._session).stored_object(sop_instance_uid)

    @override
    def slices(self, series_instance_uid: str) -> Sequence[StoredSlice]:
        asked = {"uid": series_instance_uid, "most": MAX_SLICES}
        rows = self._session.connection().execute(SLICES, asked)
        return [
            StoredSlice(
                row.sop_instance_uid,
                row.instance_number,
                max(1, min(MAX_FRAMES, row.frames)),
                row.sop_class_uid,
                row.transfer_syntax_uid,
                row.size_bytes,
                row.header_damage,
            )
            for row in rows
        ]

    @override
    def files(self, study_instance_uid: str) -> Sequence[StoredFile]:
        rows = self._session.connection().execute(FILES, {"uid": study_instance_uid})
        return [
            StoredFile(
                row.path,
                f"{row.series_rank:03d}_{_plain(row.modality)}/{row.sop_instance_uid}.dcm",
                row.size_bytes,
            )
            for row in rows
        ]

    @override
    def series_files(self, series_instance_uid: str) -> Sequence[StoredFile]:
        rows = self._session.connection().execute(SERIES_FILES, {"uid": series_instance_uid})
        return [StoredFile(row.path, f"{row.sop_instance_uid}.dcm", row.size_bytes) for row in rows]


def _plain(modality: str) -> str:
    kept = "".join(c for c in modality if c.isascii() and c.isalnum())
    return kept[:16] or "OT"
