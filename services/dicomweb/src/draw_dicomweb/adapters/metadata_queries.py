"""Documents of series in PostgreSQL."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_dicomweb.models import SeriesState, UidPath
from draw_dicomweb.ports.metadata import MetadataRepository
from draw_shared.db.feed import SERIES_STABLE

FORMAT: Final = "1"
"""Documents of another format are made anew."""

STATES: Final = text(
    """
    SELECT e.id, e.series_instance_uid, o.state, m.state AS kept
    FROM studies s JOIN series e ON e.study_pk = s.id
    LEFT JOIN series_metadata m ON m.series_pk = e.id
    CROSS JOIN LATERAL (
        SELECT md5(string_agg(concat(i.sop_instance_uid, encode(i.content_sha256, 'hex')), ','
            ORDER BY i.instance_number NULLS LAST, i.id)) AS state
        FROM instances i WHERE i.series_pk = e.id) o
    WHERE s.study_instance_uid = :study AND (:series = '' OR e.series_instance_uid = :series)
        AND o.state IS NOT NULL
    ORDER BY e.series_number NULLS LAST, e.id
    """
)
DOCUMENT: Final = text("SELECT document FROM series_metadata WHERE series_pk = :series_pk")
KEEP: Final = text(
    """
    INSERT INTO series_metadata (series_pk, state, document)
    SELECT id, :state, :document FROM series WHERE id = :series_pk
    ON CONFLICT (series_pk) DO UPDATE
        SET state = EXCLUDED.state, document = EXCLUDED.document, made_at = now()
    """
)

NEWEST: Final = text("SELECT coalesce(max(sequence), 0) FROM changes")
COMPLETED: Final = text(
    """
    SELECT sequence, study_instance_uid, series_instance_uid FROM changes
    WHERE kind = :kind AND sequence > :after ORDER BY sequence LIMIT :most
    """
)


class PostgresMetadataRepository(MetadataRepository):
    """Documents of series, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def states(self, named: UidPath) -> Sequence[SeriesState]:
        rows = self._connection.execute(STATES, {"study": named.study, "series": named.series})
        return [
            SeriesState(row.id, row.series_instance_uid, FORMAT + row.state, row.kept)
            for row in rows
        ]

    @override
    def document(self, series_pk: int) -> bytes | None:
        found = self._connection.execute(DOCUMENT, {"series_pk": series_pk}).scalar()
        return None if found is None else bytes(found)

    @override
    def keep(self, series_pk: int, state: str, document: bytes) -> None:
        values = {"series_pk": series_pk, "state": state, "document": document}
        self._connection.execute(KEEP, values)

    @override
    def newest_change(self) -> int:
        return int(self._connection.execute(NEWEST).scalar_one())

    @override
    def completed_after(self, sequence: int, most: int) -> Sequence[tuple[int, UidPath]]:
        values = {"kind": SERIES_STABLE, "after": sequence, "most": most}
        return [
            (row.sequence, UidPath(row.study_instance_uid, row.series_instance_uid))
            for row in self._connection.execute(COMPLETED, values)
        ]
