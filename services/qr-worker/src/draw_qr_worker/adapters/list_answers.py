"""Stores the lines of lists and the nodes' answers in PostgreSQL until they expire."""

import json
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import text
from typing_extensions import override

from draw_qr_worker.adapters.job_queries import hold
from draw_qr_worker.models import Lease, LineAnswer, ListLine, ListTally
from draw_qr_worker.ports.querying import ListAnswerRepository
from draw_shared.db.session import Database

UNANSWERED: Final = text(
    """
    SELECT l.id, l.keys FROM batch_query_lines l
    WHERE l.batch_query_id = :list_id AND NOT EXISTS (SELECT FROM batch_query_answers a
        WHERE a.line_id = l.id AND a.node_id = :node_id)
    ORDER BY l.number
    """
)
TALLY: Final = text(
    """
    SELECT count(*) AS answered, count(*) FILTER (WHERE a.found > 0) AS found,
        count(*) FILTER (WHERE a.state = 'truncated') AS truncated,
        count(*) FILTER (WHERE a.state = 'failed') AS failed
    FROM batch_query_lines l JOIN batch_query_answers a
        ON a.line_id = l.id AND a.node_id = :node_id
    WHERE l.batch_query_id = :list_id
    """
)
ADD: Final = text(
    """
    INSERT INTO batch_query_answers (line_id, node_id, state, found, studies, error)
    VALUES (:line_id, :node_id, :state, :found, CAST(:studies AS jsonb), :error)
    ON CONFLICT DO NOTHING
    """
)
EXPIRE: Final = text(
    """
    WITH expired AS (
        UPDATE batch_queries b SET expired = true FROM jobs j
        WHERE j.id = b.id AND NOT b.expired
            AND j.finished_at < now() - make_interval(secs => b.kept_seconds)
        RETURNING b.id
    )
    UPDATE batch_query_answers a SET studies = '[]'
    FROM expired e JOIN batch_query_lines l ON l.batch_query_id = e.id
    WHERE a.line_id = l.id
    """
)


class PostgresListAnswerRepository(ListAnswerRepository):
    """The tables `batch_query_lines` and `batch_query_answers`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    def unanswered(self, list_id: UUID, node_id: int) -> Sequence[ListLine]:
        values = {"list_id": list_id, "node_id": node_id}
        with self._database.session() as session:
            rows = session.connection().execute(UNANSWERED, values)
            return [ListLine(row.id, row.keys) for row in rows]

    @override
    def tally(self, list_id: UUID, node_id: int) -> ListTally:
        values = {"list_id": list_id, "node_id": node_id}
        with self._database.session() as session:
            row = session.connection().execute(TALLY, values).one()
            return ListTally(row.answered, row.found, row.truncated, row.failed)

    @override
    def add(self, lease: Lease, node_id: int, line_id: int, answer: LineAnswer) -> None:
        values = {
            "line_id": line_id,
            "node_id": node_id,
            "state": answer.state,
            "found": len(answer.studies),
            "studies": json.dumps(list(answer.studies)),
            "error": answer.error,
        }
        with self._database.session() as session:
            hold(session, lease).execute(ADD, values)
            session.commit()

    def expire(self) -> None:
        """Delete the studies found for lists that ended too long ago; the lists remain."""
        with self._database.session() as session:
            session.connection().execute(EXPIRE)
            session.commit()
