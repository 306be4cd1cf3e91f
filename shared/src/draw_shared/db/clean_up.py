"""Finds the studies that the clean-up may delete: whole ones, oldest first, not in use."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """One study beyond retention that no row protects."""

    id: int
    study_instance_uid: str
    last_received_at: datetime
    instances: int
    size_bytes: int


# A copy that still has to be compared shows that its study was sent again.
# A job may name a study, its patient or its accession number, anywhere in its parameters.
# OFFSET 0 prevents the planner from reading whole tables for few studies.
CANDIDATES: Final = text(
    """
    WITH busy AS MATERIALIZED (
        SELECT DISTINCT word #>> '{}' AS word FROM jobs j,
            jsonb_path_query(j.parameters, 'lax $.** ? (@.type() == "string")') word
        WHERE j.finished_at IS NULL)
    SELECT s.id, s.study_instance_uid, s.last_received_at, s.instance_count, s.size_bytes
    FROM studies s JOIN patients p ON p.id = s.patient_pk
    WHERE s.last_received_at < now() - make_interval(days => :days)
        AND NOT s.held AND s.stable_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM instance_conflicts c
            WHERE c.study_instance_uid = s.study_instance_uid OFFSET 0)
        AND NOT EXISTS (SELECT FROM file_copies c
            WHERE c.study_instance_uid = s.study_instance_uid OFFSET 0)
        AND NOT EXISTS (SELECT FROM series r JOIN instances i ON i.series_pk = r.id
            JOIN instance_conflicts c ON c.sop_instance_uid = i.sop_instance_uid
            WHERE r.study_pk = s.id OFFSET 0)
        AND NOT EXISTS (SELECT FROM retrieve_items t JOIN jobs j ON j.id = t.job_id
            WHERE t.study_instance_uid = s.study_instance_uid AND j.finished_at IS NULL OFFSET 0)
        AND NOT EXISTS (SELECT FROM deliveries d
            WHERE d.study_instance_uid = s.study_instance_uid AND d.finished_at IS NULL OFFSET 0)
        AND NOT EXISTS (SELECT FROM busy WHERE word <> ''
            AND word IN (s.study_instance_uid, p.patient_id, s.accession_number))
        AND (s.last_received_at, s.id) > (:after, :after_id)
        AND (:only = '' OR s.study_instance_uid = :only)
    ORDER BY s.last_received_at, s.id LIMIT :most
    """
)
PATHS: Final = text(
    "SELECT i.path FROM instances i JOIN series r ON r.id = i.series_pk WHERE r.study_pk = :study"
)
BEGINNING_OF_ALL: Final = (datetime.fromisoformat("0001-01-02T00:00:00+00:00"), 0)


def candidates(
    connection: Connection,
    retention_days: int,
    *,
    after: tuple[datetime, int] = BEGINNING_OF_ALL,
    most: int = AT_ONCE,
    only: str = "",
) -> list[Candidate]:
    """Return the next studies that may be deleted, oldest first, after the given one."""
    values = {
        "days": retention_days,
        "after": after[0],
        "after_id": after[1],
        "most": most,
        "only": only,
    }
    return [Candidate(*row) for row in connection.execute(CANDIDATES, values)]


def paths(connection: Connection, study: int) -> Iterator[str]:
    """Yield the paths of the objects of a study."""
    yield from connection.execute(PATHS, {"study": study}).scalars()
