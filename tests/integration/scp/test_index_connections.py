"""Connections to the index are lent so that one peer's queries keep nobody else's out."""

from contextlib import ExitStack
from itertools import repeat

import pytest

from draw_shared.db import index_connections
from draw_shared.db.index_connections import IndexConnections, IndexUnavailable
from draw_shared.dicom.network.shares import Claimant

pytestmark = [pytest.mark.integration, pytest.mark.security]

MOST = 8
GREEDY = Claimant("192.0.2.66", "GREEDY", listed=False)
HONEST = Claimant("192.0.2.2", "HONEST", listed=False)
LISTED = Claimant("192.0.2.66", "LISTED", listed=True)


@pytest.fixture
def connections(database_url, monkeypatch):
    monkeypatch.setattr(index_connections, "WAIT_TIMEOUT_SECONDS", 0.0)
    made = IndexConnections(database_url, most=MOST, statement_seconds=20)
    yield made
    made.stop(5)


def query(connections, by):
    """Begin a query, and return what reads its rows."""
    return connections.reading(b"SELECT generate_series(1, 1000)::text", (), by)


def hold(connections, held, askers):
    """Begin queries until one is refused; return how many were not, and why it was."""
    for number, by in enumerate(askers):
        try:
            assert held.enter_context(query(connections, by))(1) == [(b"1",)]
        except IndexUnavailable as error:
            return number, str(error)
    raise AssertionError("none was refused")


def test_queries_that_are_read_slowly_leave_connections_to_others(connections):
    with ExitStack() as held:
        assert hold(connections, held, repeat(GREEDY)) == (
            MOST - MOST // index_connections.RESERVED_PART,
            "too many queries of this peer at the same time",
        )
        for by in (HONEST, LISTED):
            with query(connections, by) as fetch:
                assert len(fetch(1000)) == 1000
    with query(connections, GREEDY) as fetch:
        assert len(fetch(1000)) == 1000


def test_there_are_never_more_than_may_be(connections):
    askers = (Claimant(f"192.0.2.{n}", f"LISTED_{n}", listed=True) for n in range(5 * MOST))
    with ExitStack() as held:
        assert hold(connections, held, askers) == (MOST, "too many queries at the same time")
