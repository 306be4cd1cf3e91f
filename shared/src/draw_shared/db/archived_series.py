"""Walks through the complete series of the archive in the order of their ids."""

from typing import Final

from sqlalchemy import Connection, text

from draw_shared.routing.batches import ArchiveStep, BatchCriteria

WINDOW: Final = 1000
"""Rows that one step looks at, however rare is what is looked for."""

UNTIL: Final = text("SELECT coalesce(max(id), 0) FROM series")
STEP: Final = text(
    """
    WITH looked AS MATERIALIZED (
        SELECT id FROM series WHERE id > :after AND id <= :until ORDER BY id LIMIT :window),
    found AS (
        SELECT r.id, r.series_instance_uid
        FROM looked l JOIN series r ON r.id = l.id JOIN studies s ON s.id = r.study_pk
        WHERE r.stable_at IS NOT NULL
            AND r.last_received_at >= coalesce(CAST(:received_from AS timestamptz), '-infinity')
            AND r.last_received_at < coalesce(CAST(:received_to AS timestamptz), 'infinity')
            AND (:modality = '' OR r.modality = :modality)
            AND (:any_study OR s.study_instance_uid = ANY(:studies))
        ORDER BY r.id LIMIT :most)
    SELECT w.reached, f.id, f.series_instance_uid
    FROM (SELECT max(id) AS reached FROM looked) w LEFT JOIN found f ON true ORDER BY f.id
    """
)


def last_series(connection: Connection) -> int:
    """Return the id of the newest series, 0 without any."""
    return int(connection.execute(UNTIL).scalar_one())


def next_series(
    connection: Connection, criteria: BatchCriteria, *, after: int, until: int, most: int
) -> ArchiveStep:
    """Return the next series that meet the criteria; a step may find none and not be the last."""
    rows = connection.execute(
        STEP,
        {
            "after": after,
            "until": until,
            "window": WINDOW,
            "most": most,
            "received_from": criteria.received_from,
            "received_to": criteria.received_to,
            "modality": criteria.modality,
            "any_study": not criteria.study_instance_uids,
            "studies": list(criteria.study_instance_uids),
        },
    ).all()
    found = [row for row in rows if row.id is not None]
    reached = found[-1].id if len(found) == most else rows[0].reached
    return ArchiveStep(
        tuple(row.series_instance_uid for row in found),
        until if reached is None else reached,
        reached is None or reached >= until,
    )
