"""Stores the results of queries in PostgreSQL until they expire."""

import json
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import text
from typing_extensions import override

from draw_qr_worker.adapters.job_queries import hold
from draw_qr_worker.models import Lease, Match
from draw_qr_worker.ports.querying import ResultRepository
from draw_shared.db.session import Database

ADD: Final = text(
    """
    INSERT INTO query_results (query_id, node_id, unique_key, attributes)
    SELECT :query_id, :node_id, given.key, CAST(given.attributes AS jsonb)
    FROM unnest(CAST(:keys AS text[]), CAST(:attributes AS text[])) AS given (key, attributes)
    ON CONFLICT (query_id, node_id, unique_key) DO NOTHING
    """
)
# Queries are never deleted and few still have results: skip from one of those to the next.
EXPIRE: Final = text(
    """
    WITH RECURSIVE kept AS (
        (SELECT query_id FROM query_results ORDER BY query_id LIMIT 1)
        UNION ALL SELECT (SELECT r.query_id FROM query_results r WHERE r.query_id > k.query_id
            ORDER BY r.query_id LIMIT 1) FROM kept k WHERE k.query_id IS NOT NULL)
    DELETE FROM query_results WHERE query_id = ANY(ARRAY(
        SELECT k.query_id FROM kept k
        WHERE (SELECT q.expires_at FROM queries q WHERE q.id = k.query_id) < now() LIMIT 20))
    """
)


class PostgresResultRepository(ResultRepository):
    """The table `query_results`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    def add(self, lease: Lease, query_id: UUID, node_id: int, matches: Mapping[str, Match]) -> None:
        values = {
            "query_id": query_id,
            "node_id": node_id,
            "keys": list(matches),
            "attributes": [json.dumps(dict(match)) for match in matches.values()],
        }
        with self._database.session() as session:
            hold(session, lease).execute(ADD, values)
            session.commit()

    def expire(self) -> None:
        """Delete the results of queries that are too old; the queries remain."""
        with self._database.session() as session:
            session.connection().execute(EXPIRE)
            session.commit()
