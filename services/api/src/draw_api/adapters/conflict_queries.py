"""Reads objects in conflict from PostgreSQL, and finds what each contradicts now.

A list of one kind examines a bounded number of conflicts, newest first; older matches are on one of
the next pages.
"""

from typing import Final

from sqlalchemy import RowMapping, text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.conflicts import ConflictCriteria, ObjectConflict
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.ports.conflicts import ConflictRepository

LOOKED_AT: Final = 5000
"""The maximum of conflicts that one page of one kind examines."""
LAST: Final = 2**63 - 1

# OFFSET 0 keeps the planner from reading whole tables for few conflicts.
MATCHING: Final = """
    SELECT l.number AS looked_at, l.lowest, k.*
    FROM (SELECT count(*) AS number, min(id) AS lowest FROM looked) l
    LEFT JOIN (SELECT * FROM (
        SELECT c.id, c.sop_instance_uid, c.study_instance_uid, c.reason, c.calling_ae,
            c.received_at, c.size_bytes, encode(c.content_sha256, 'hex') AS content_sha256,
            EXISTS (SELECT FROM studies n
                WHERE n.study_instance_uid = c.study_instance_uid) AS study_indexed,
            coalesce(h.study_instance_uid, '') AS current_study_instance_uid,
            coalesce(h.patient_id, '') AS patient_id,
            coalesce(h.content_sha256 = c.content_sha256, false) AS current,
            CASE WHEN h.content_sha256 = c.content_sha256 THEN h.stated_patient ELSE '' END
                AS stated_patient,
            CASE WHEN h.study_instance_uid <> c.study_instance_uid THEN 'another_study'
                WHEN h.content_sha256 = c.content_sha256 THEN 'another_patient'
                ELSE 'another_object' END AS kind
        FROM looked c LEFT JOIN LATERAL (
            SELECT i.content_sha256, i.stated_patient, s.study_instance_uid, p.patient_id
            FROM instances i JOIN series r ON r.id = i.series_pk
            JOIN studies s ON s.id = r.study_pk JOIN patients p ON p.id = s.patient_pk
            WHERE i.sop_instance_uid = c.sop_instance_uid OFFSET 0) h ON true) j
        WHERE :kind = '' OR j.kind = :kind ORDER BY j.id DESC LIMIT :limit) k ON true
    ORDER BY k.id DESC
"""
CONFLICTS: Final = text(
    f"""
    WITH looked AS MATERIALIZED (SELECT * FROM instance_conflicts
        WHERE id < :before ORDER BY id DESC LIMIT :looked_at) {MATCHING}
    """  # noqa: S608 - our own words
)
OF_STUDY: Final = text(
    f"""
    WITH looked AS MATERIALIZED (SELECT * FROM instance_conflicts
        WHERE id < :before AND id = ANY(ARRAY(
            SELECT id FROM instance_conflicts WHERE study_instance_uid = :uid
            UNION SELECT c.id FROM studies s JOIN series r ON r.study_pk = s.id
            JOIN instances i ON i.series_pk = r.id
            JOIN instance_conflicts c ON c.sop_instance_uid = i.sop_instance_uid
            WHERE s.study_instance_uid = :uid))
        ORDER BY id DESC LIMIT :looked_at) {MATCHING}
    """  # noqa: S608 - our own words
)


class PostgresConflictRepository(ConflictRepository):
    """The table `instance_conflicts`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def page(
        self, criteria: ConflictCriteria, cursor: str | None, limit: int
    ) -> Page[ObjectConflict]:
        before = LAST if cursor is None else decode_cursor(cursor, (int,))[0]
        most = limit + 1 if criteria.kind is None else LOOKED_AT
        asked = {
            "before": before,
            "looked_at": most,
            "kind": str(criteria.kind or ""),
            "limit": limit + 1,
        }
        if criteria.study_instance_uid:
            asked["uid"] = criteria.study_instance_uid
        statement = OF_STUDY if criteria.study_instance_uid else CONFLICTS
        rows = self._connection.execute(statement, asked).mappings().all()
        found = page_of([_conflict(row) for row in rows if row["id"] is not None], limit)
        if found.next_cursor is None and rows[0]["looked_at"] == LOOKED_AT:
            return Page(items=found.items, next_cursor=encode_cursor(rows[0]["lowest"]))
        return found


def _conflict(row: RowMapping) -> tuple[str, ObjectConflict]:
    return encode_cursor(row["id"]), ObjectConflict.model_validate(row)
