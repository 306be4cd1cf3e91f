"""Reads the running retrieve jobs from the database for all watchers.

Concurrency: while anybody watches, one thread reads once a second for all of them. Every replica of
the API therefore shows the same, and the number of open pages does not load the database.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from typing_extensions import override

from draw_api.adapters.retrieve_queries import PostgresRetrieveRepository
from draw_api.models.retrieves import Retrieve
from draw_api.ports.live_retrieves import LiveRetrieves
from draw_shared.db.session import Database
from draw_shared.runtime.periodic import Periodic

POLL_INTERVAL_SECONDS: Final = 1.0
MAX_SHOWN: Final = 1000


class PolledRetrieves(LiveRetrieves):
    """The retrieves that are running or have just ended."""

    name = "live-retrieves"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._watching = 0
        self._stopping = False
        self._seen: Mapping[UUID, Retrieve] = {}
        self._periodic = Periodic(self.name, self._look, interval_seconds=POLL_INTERVAL_SECONDS)

    def start(self) -> None:
        """Start reading as soon as somebody watches."""
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Tell all watchers that watching is over."""
        self._stopping = True
        self._periodic.stop(deadline_seconds)

    @override
    @property
    def stopping(self) -> bool:
        return self._stopping

    @override
    @property
    def seen(self) -> Mapping[UUID, Retrieve]:
        return self._seen

    @override
    @contextmanager
    def watching(self) -> Iterator[None]:
        with self._lock:
            self._watching += 1
        self._periodic.wake()
        try:
            yield
        finally:
            with self._lock:
                self._watching -= 1

    def _look(self) -> None:
        if not self._watching:
            self._seen = {}
            return
        with self._database.session() as session:
            found = PostgresRetrieveRepository(session).live(MAX_SHOWN)
        self._seen = {retrieve.id: retrieve for retrieve in found}
