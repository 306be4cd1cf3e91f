"""Selects the studies that the clean-up deletes: one rule for the clean-up and its dry run.

A study is deleted if all its objects were last received, first time or again, before the
retention period, and if nothing protects it: no hold, no conflict, no unfinished job, and no
object that still has to be announced or indexed.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from draw_shared.db import clean_up
from draw_shared.db.clean_up import Candidate
from draw_shared.storage.removal import StorageFiles
from draw_shared.storage.unannounced import unannounced_studies


class Retention:
    """The rule, for one storage root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = StorageFiles(root)

    def expired(
        self,
        connection: Connection,
        days: int,
        now: datetime,
        *,
        after: tuple[datetime, int] = clean_up.BEGINNING_OF_ALL,
    ) -> Iterator[Candidate] | None:
        """Return the expired studies, oldest first; None if too many objects are unannounced."""
        arriving = unannounced_studies(self._root)
        if arriving is None:
            return None
        return self._expired(connection, days, now, arriving, after)

    def still_expired(
        self, connection: Connection, study_instance_uid: str, days: int, now: datetime
    ) -> bool:
        """Return whether this study is still expired, now that its row is locked."""
        arriving = unannounced_studies(self._root)
        if arriving is None or study_instance_uid in arriving:
            return False
        found = clean_up.candidates(connection, days, only=study_instance_uid)
        return any(self._long_ago(connection, study, days, now) for study in found)

    def _expired(
        self,
        connection: Connection,
        days: int,
        now: datetime,
        arriving: frozenset[str],
        after: tuple[datetime, int],
    ) -> Iterator[Candidate]:
        while found := clean_up.candidates(connection, days, after=after):
            for study in found:
                if study.study_instance_uid not in arriving and self._long_ago(
                    connection, study, days, now
                ):
                    yield study
            after = (found[-1].last_received_at, found[-1].id)

    def _long_ago(self, connection: Connection, study: Candidate, days: int, now: datetime) -> bool:
        """Return whether none of its objects was sent again within the retention period."""
        limit = (now - timedelta(days=days)).timestamp()
        return self._files.last_wanted(clean_up.paths(connection, study.id)) < limit
