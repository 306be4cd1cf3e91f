"""Deletes the oldest studies, each completely, beyond retention, and files that no row needs.

Rows go before files, see `draw_shared.db.deletion`. If the process dies in between, records say
what remains to be done, and the next call, in any indexer, does it. Files that no row needs are
those of deleted objects, and copies of indexed ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from draw_indexer.ports.clean_up import ExpiredStudyRepository, SuperfluousCopies

log = structlog.get_logger()

FILES_AT_ONCE: Final = 200
"""Files removed in one turn of the index; writers wait meanwhile."""
COPIES_AT_ONCE: Final = 20
"""Copies that are compared completely with the files that make them superfluous."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """What the operator allows."""

    clean_up: bool
    retention_days: int


class CleanUpService:
    """Cleans up; every indexer calls it repeatedly."""

    def __init__(
        self,
        studies: ExpiredStudyRepository,
        copies: SuperfluousCopies,
        rule: Callable[[], RetentionRule],
        backlog: Callable[[], int],
        deleted: Callable[[int], None],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._studies = studies
        self._copies = copies
        self._rule = rule
        self._backlog = backlog
        self._deleted = deleted
        self._stopping = stopping

    def remove_files(self) -> None:
        """Remove every copy, and finish every recorded deletion.

        Raises:
            Transient: the database does not answer; the records remain.
        """
        # Copies first: that records a damaged file which a copy replaces.
        while self._copies.remove(COPIES_AT_ONCE) and not self._stopping():
            pass
        while self._studies.remove_files(FILES_AT_ONCE) and not self._stopping():
            pass

    def delete_expired(self) -> None:
        """Delete every study beyond retention that nothing protects.

        Raises:
            Transient: the database or the broker does not answer; nothing is half done.
        """
        rule = self._rule()
        # A message in the queue may belong to any study.
        if not rule.clean_up or self._backlog():
            return
        expired = self._studies.expired(rule.retention_days)
        if expired is None:
            log.warning("clean_up.waiting", reason="too many objects are not announced")
            return
        for uid in expired:
            if self._stopping() or self._rule() != rule:
                return
            objects = self._studies.delete_expired(uid, rule.retention_days)
            if objects is not None:
                self._deleted(objects)
                log.info("clean_up.study_deleted", study_instance_uid=uid, objects=objects)
                self.remove_files()
