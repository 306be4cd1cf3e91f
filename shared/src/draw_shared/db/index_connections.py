"""Connections to the index for queries: few, read-only, one server-side cursor per query.

They are separate from the pool of the other database work: a peer that reads its answers slowly
occupies one of these, and nothing else waits for it. No peer can occupy all of them
(`draw_shared.dicom.network.shares`): a quarter is reserved for peers that hold few or none.
Each statement is planned with its own values, because the best plan for one pattern is the worst
for another. Decision 43 says why psycopg's own pool is not used.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.types.string import ByteaBinaryLoader

from draw_shared.dicom.network.shares import Claimant, Limits, Shares, ShareShortage
from draw_shared.dicom.query.query import Row
from draw_shared.errors import Transient
from draw_shared.wording import message

CONNECT_TIMEOUT_SECONDS: Final = 5
WAIT_TIMEOUT_SECONDS: Final = 5.0
IDLE_TIMEOUT_SECONDS: Final = 120
RESERVED_PART: Final = 4
"""One in so many connections is reserved for peers that hold few or none."""

SHORTAGES: Final = {
    ShareShortage.OF_SHARE: message("too many queries of this peer at the same time"),
    ShareShortage.OF_PLACES: message("too many queries at the same time"),
}

Fetch = Callable[[int], list[Row]]


class IndexUnavailable(Transient):
    """The index does not answer, or not in time."""


class IndexConnections:
    """Lends a connection to one query at a time.

    Args:
        most: largest number of connections.
        statement_seconds: how long the server may work on one step of an answer.
    """

    name = "index"

    def __init__(self, url: str, *, most: int, statement_seconds: int) -> None:
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        reserved = most // RESERVED_PART
        self._shares = Shares(lambda: Limits(most - reserved, reserved))
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Any]] = []
        self._closed = False
        self._settings = (
            "SET default_transaction_read_only = on; SET jit = off;"
            f" SET statement_timeout = '{statement_seconds}s';"
            f" SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT_SECONDS}s';"
            " SET client_encoding = 'UTF8'"
        )

    @contextmanager
    def reading(self, statement: bytes, parameters: Sequence[Any], by: Claimant) -> Iterator[Fetch]:
        """Yield a function that returns up to the given number of further rows, as UTF-8 text.

        Raises:
            IndexUnavailable: raised by that function too.
        """
        place = self._shares.ask(by)
        shortage = self._shares.wait(place, WAIT_TIMEOUT_SECONDS)
        if shortage is not None:
            raise IndexUnavailable(SHORTAGES[shortage])
        try:
            with _answering():
                connection, cursor = self._begin(statement, parameters)
            try:
                yield lambda count: _fetch(cursor, count)
            finally:
                self._give_back(connection)
        finally:
            self._shares.give_back(place)

    def start(self) -> None:
        """Do nothing: connections are opened on demand."""

    def stop(self, _deadline_seconds: float) -> None:
        """Close every connection; a connection in use is closed when it is returned."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _begin(
        self, statement: bytes, parameters: Sequence[Any]
    ) -> tuple[psycopg.Connection[Any], psycopg.Cursor[Any]]:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            fresh = connection is None
            connection = connection or self._connect()
            try:
                cursor = connection.cursor(binary=True)
                cursor.execute(b"DECLARE found NO SCROLL CURSOR FOR " + statement, parameters)
            except psycopg.OperationalError:
                # A restarted server has cut idle connections: only the failure of a fresh one
                # shows that the server is down.
                if fresh or not connection.closed:
                    self._give_back(connection)
                    raise
            except BaseException:
                self._give_back(connection)
                raise
            else:
                return connection, cursor

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="draw-query",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
        # Text stays bytes all the way to the peer.
        connection.adapters.register_loader("text", ByteaBinaryLoader)
        connection.execute(self._settings.encode())
        connection.autocommit = False
        return connection

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.rollback()
        except psycopg.Error:
            connection.close()
        with self._lock:
            if not connection.closed and not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def _fetch(cursor: psycopg.Cursor[Any], count: int) -> list[Row]:
    with _answering():
        cursor.execute(f"FETCH FORWARD {count} FROM found".encode())
        return cursor.fetchall()


@contextmanager
def _answering() -> Iterator[None]:
    """Raise IndexUnavailable for every database error: an answer must not be wrong."""
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise IndexUnavailable(message("the index took too long")) from error
    except psycopg.Error as error:
        raise IndexUnavailable(
            message("the index does not answer: %(error)s", error=type(error).__name__)
        ) from error
