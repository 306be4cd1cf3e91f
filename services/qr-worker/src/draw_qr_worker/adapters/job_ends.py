"""Says which jobs are not over, so that others can remove what these have left."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from sqlalchemy import text

from draw_shared.db.session import Database

UNFINISHED: Final = text("SELECT id FROM jobs WHERE id = ANY(:job_ids) AND finished_at IS NULL")


class PostgresJobEnds:
    """The ends of jobs in the table `jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unfinished(self, jobs: Collection[UUID]) -> Collection[UUID]:
        """Return those of the jobs that are not over."""
        with self._database.session() as session:
            found = session.connection().execute(UNFINISHED, {"job_ids": list(jobs)})
            return set(found.scalars())
