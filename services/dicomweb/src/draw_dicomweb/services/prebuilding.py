"""Makes the metadata of series as soon as they are complete, before anybody asks.

The position in the change feed is in memory only: what a process misses is made when somebody asks.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import structlog

from draw_dicomweb.models import UidPath
from draw_dicomweb.services.metadata import MetadataService, MetadataWork

log = structlog.get_logger()

AT_ONCE: Final = 50


class PrebuildService:
    """Follows the change feed."""

    def __init__(
        self, work: Callable[[], AbstractContextManager[MetadataWork]], metadata: MetadataService
    ) -> None:
        self._work = work
        self._metadata = metadata
        self._after: int | None = None

    def look(self) -> None:
        """Make what is missing of the series that have become complete since the last look.

        Raises:
            Transient: the database does not answer; the next look goes on from here.
        """
        with self._work() as work:
            if self._after is None:
                self._after = work.metadata.newest_change()
                return
            complete = work.metadata.completed_after(self._after, AT_ONCE)
        for sequence, named in complete:
            self._make(named)
            self._after = sequence

    def _make(self, named: UidPath) -> None:
        with self._work() as work:
            states = work.metadata.states(named)
        if states and states[0].kept != states[0].state:
            self._metadata.make(named)
            log.debug("metadata.made", series_instance_uid=named.series)
