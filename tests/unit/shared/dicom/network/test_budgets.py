"""Which connections give way when they are used up, and which stay."""

import socket
from dataclasses import replace
from ipaddress import ip_network

import pytest

from draw_shared.dicom.network.budgets import Budgets, Connection
from draw_shared.dicom.network.limits import AcceptorLimits
from draw_shared.dicom.network.shares import Limits

pytestmark = pytest.mark.security

GREEDY, HONEST, OTHER = "192.0.2.66", "192.0.2.2", "192.0.2.3"
LIMITS = AcceptorLimits(places=Limits(10, reserved=4), max_connections=10)


class Asking:
    """Stands for an association whose request has come."""

    in_hand = True


class Crowd:
    """Connections that come one after the other and say nothing."""

    def __init__(self, limits=LIMITS):
        self.budgets = Budgets(lambda: limits)
        self.turned_out = []
        self._sockets = []

    def come(self, address, *, asks=False):
        """Return a connection, or None when there is no room for it."""
        ours, theirs = socket.socketpair()
        self._sockets += ours, theirs
        connection = Connection(ours, address, self.turned_out.append)
        if asks:
            connection.association = Asking()
        return connection if self.budgets.admit(connection) else None

    def close(self):
        for one in self._sockets:
            one.close()


@pytest.fixture
def crowd():
    crowd = Crowd()
    yield crowd
    crowd.close()


def test_the_oldest_of_the_address_that_has_most_gives_way(crowd):
    crowd.come(HONEST)
    greedy = [crowd.come(GREEDY) for _ in range(9)]
    others = [crowd.come(OTHER) for _ in range(4)]
    assert all(others)
    assert crowd.turned_out == greedy[:4]


def test_where_all_have_asked_only_addresses_with_few_get_in(crowd):
    assert all(crowd.come(GREEDY, asks=True) for _ in range(10))
    assert crowd.come(GREEDY, asks=True) is None
    assert [bool(crowd.come(HONEST, asks=True)) for _ in range(4)] == [True, True, False, False]
    assert crowd.come(OTHER, asks=True)
    assert not crowd.turned_out


def test_a_client_behind_a_proxy_gets_no_more_of_what_is_left_than_another():
    crowd = Crowd(replace(LIMITS, trusted_proxies=(ip_network("192.0.2.1"),)))
    try:
        for _ in range(10):
            crowd.budgets.move(crowd.come("192.0.2.1", asks=True), GREEDY)
        assert not crowd.budgets.move(crowd.come("192.0.2.1", asks=True), GREEDY)
        assert crowd.budgets.move(crowd.come("192.0.2.1", asks=True), HONEST)
    finally:
        crowd.close()
