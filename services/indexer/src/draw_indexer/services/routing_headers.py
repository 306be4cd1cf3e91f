"""Reads from files what the index does not have, without holding a transaction meanwhile.

A transaction that meets a file that was not read yet notes it and is given up; the file is read,
and the next transaction finds its values here. A file that cannot be read now holds nothing up:
what it says is awaited, and what it may change is looked at again later.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from draw_indexer.ports.headers import HeaderValueSource
from draw_shared.errors import Transient
from draw_shared.routing.facts import HeaderValues
from draw_shared.routing.subjects import ConditionSubject

log = structlog.get_logger()

SLOW_SECONDS: Final = 2.0
"""How long a file takes that fails slowly: a storage that hangs would hold everything up."""
AVOIDED_SECONDS: Final = 600.0
"""How long a file that fails slowly is not tried again."""
REST_SECONDS: Final = 300.0
"""How long no file is tried after two that have failed slowly, one after the other."""
MAX_AVOIDED: Final = 10_000

Asked = tuple[str, tuple[ConditionSubject, ...]]


class HeaderMemory:
    """What files have said, as long as it is needed."""

    def __init__(
        self, source: HeaderValueSource, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._clock = clock
        self._known: dict[Asked, HeaderValues] = {}
        self._missing: dict[Asked, None] = {}
        self._avoided: dict[str, float] = {}
        """Files that have failed slowly, with the time until which they are not tried."""
        self._slow_in_a_row = 0
        self._rests_until = clock()

    @property
    def lacks(self) -> bool:
        """Whether something was asked that is not known yet."""
        return bool(self._missing)

    def read(self, path: str, subjects: Sequence[ConditionSubject]) -> HeaderValues:
        """Return what a file says; what is not known yet is noted, and answered by nothing."""
        asked = path, tuple(subjects)
        found = self._known.get(asked)
        if found is None:
            self._missing[asked] = None
            return HeaderValues()
        return found

    def fetch(self) -> None:
        """Read what was noted, as far as it can be read now."""
        missing, self._missing = self._missing, {}
        for path, subjects in missing:
            self._known[path, subjects] = self._fetch(path, subjects)

    def forget(self) -> None:
        """Forget what files have said: they may be others by now."""
        self._known.clear()
        self._missing.clear()

    def _fetch(self, path: str, subjects: Sequence[ConditionSubject]) -> HeaderValues:
        begun = self._clock()
        if begun < max(self._rests_until, self._avoided.get(path, begun)):
            return HeaderValues(awaited=True)
        # One by one: a file that hangs must not have others tried again.
        [found] = self._source.values([path], subjects)
        if isinstance(found, Transient):
            log.info("routing.file_awaited", path=path, error=str(found))
            if self._clock() - begun >= SLOW_SECONDS:
                self._avoid(path)
            return HeaderValues(awaited=True)
        self._slow_in_a_row = 0
        if isinstance(found, HeaderValues):
            return found
        log.warning("routing.file_unreadable", path=path, error=str(found))
        return HeaderValues()

    def _avoid(self, path: str) -> None:
        if len(self._avoided) >= MAX_AVOIDED:
            self._avoided.clear()
        self._avoided[path] = self._clock() + AVOIDED_SECONDS
        self._slow_in_a_row += 1
        if self._slow_in_a_row > 1:
            self._rests_until = self._clock() + REST_SECONDS
            log.warning("routing.storage_hangs", seconds=REST_SECONDS)
