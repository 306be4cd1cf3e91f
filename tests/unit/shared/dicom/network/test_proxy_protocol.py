"""PROXY protocol v2: from trusted proxies it is demanded, from others it is refused."""

import ipaddress
import socket
import struct
from dataclasses import replace

import pytest

from draw_shared.contracts.server_config import EVERYTHING, SecurityConfig
from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network import acceptor as acceptor_module
from draw_shared.dicom.network import budgets
from draw_shared.dicom.network.associate import AssociateRequest, ProposedContext, UserInformation
from draw_shared.dicom.network.limits import AcceptorLimits
from draw_shared.dicom.network.proxy_protocol import SIGNATURE
from draw_shared.dicom.network.shares import Limits
from support.engine import RecordingProvider, listening
from support.waiting import wait_until

pytestmark = pytest.mark.security

REQUEST = AssociateRequest(
    "BEHIND",
    "DRAW_SCP",
    (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),),
    UserInformation(16384, "1.2.3"),
).encode()
TRUSTING = AcceptorLimits(trusted_proxies=(ipaddress.ip_network("127.0.0.0/8"),))
ACCEPTED, REJECTED = 2, 3


def header(source, *, command=0x21, family=None, extra=b""):
    found = ipaddress.ip_address(source)
    wanted = family or (0x11 if found.version == 4 else 0x21)
    addresses = found.packed + found.packed + struct.pack("!HH", 40000, 11112) + extra
    return SIGNATURE + struct.pack("!BBH", command, wanted, len(addresses)) + addresses


def answer(acceptor, raw):
    """Send bytes and return the first byte of the answer, None when there is none."""
    with socket.create_connection(("127.0.0.1", acceptor.port), 5) as made:
        made.sendall(raw)
        try:
            got = made.recv(1)
        except ConnectionResetError:
            return None
        return got[0] if got else None


@pytest.mark.parametrize("source", ["192.0.2.9", "2001:db8::9"])
def test_the_client_behind_a_trusted_proxy_is_who_counts(source):
    with listening(limits=TRUSTING) as (acceptor, provider):
        assert answer(acceptor, header(source, extra=b"\x04\x00\x01x") + REQUEST) == ACCEPTED
        assert provider.infos[0].peer_address == source


def test_a_header_in_pieces_is_read():
    with listening(limits=TRUSTING) as (acceptor, provider):
        with socket.create_connection(("127.0.0.1", acceptor.port), 5) as made:
            for byte in header("192.0.2.9"):
                made.sendall(bytes((byte,)))
            made.sendall(REQUEST)
            assert made.recv(1)[0] == ACCEPTED
        assert provider.infos[0].peer_address == "192.0.2.9"


def test_the_allow_list_is_for_the_client_not_for_the_proxy():
    config = EVERYTHING.model_copy(update={"security": SecurityConfig(allowed_ips=("192.0.2.9",))})
    with listening(RecordingProvider(config), TRUSTING) as (acceptor, _):
        assert answer(acceptor, header("192.0.2.9") + REQUEST) == ACCEPTED
        assert answer(acceptor, header("192.0.2.10") + REQUEST) == REJECTED


@pytest.mark.parametrize(
    "raw",
    [
        REQUEST,
        b"PROXY TCP4 192.0.2.9 192.0.2.1 1 2\r\n" + REQUEST,
        header("192.0.2.9", command=0x31) + REQUEST,
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 4) + b"abcd" + REQUEST,
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 0xFFFF),
    ],
)
def test_a_trusted_proxy_without_a_proper_header_is_cut_off(raw):
    with listening(limits=TRUSTING) as (acceptor, provider):
        assert answer(acceptor, raw) is None
        assert not provider.infos


def test_a_health_check_of_the_proxy_is_closed_quietly():
    with listening(limits=TRUSTING) as (acceptor, provider):
        assert answer(acceptor, header("192.0.2.9", command=0x20)) is None
        assert not provider.infos and not provider.rejections


def test_nobody_else_may_say_who_he_is():
    with listening() as (acceptor, provider):
        # The header is no A-ASSOCIATE-RQ: A-ABORT.
        assert answer(acceptor, header("192.0.2.9") + REQUEST) in {7, None}
        assert not provider.infos


def test_the_budget_per_address_counts_clients_behind_the_proxy():
    limits = replace(TRUSTING, max_connections_per_address=2)
    with listening(limits=limits) as (acceptor, _):
        held = []
        for _ in range(2):
            made = socket.create_connection(("127.0.0.1", acceptor.port), 5)
            made.sendall(header("192.0.2.9") + REQUEST)
            assert made.recv(1)[0] == ACCEPTED
            held.append(made)
        assert answer(acceptor, header("192.0.2.9")) == REJECTED
        assert answer(acceptor, header("192.0.2.10") + REQUEST) == ACCEPTED
        for made in held:
            made.close()
        assert wait_until(lambda: acceptor.connections == 0)
        assert answer(acceptor, header("192.0.2.9") + REQUEST) == ACCEPTED


@pytest.mark.parametrize(
    ("begun", "budget"),
    [(b"", {"max_connections": 10}), (header("192.0.2.9"), {"max_connections_per_address": 10})],
)
def test_who_sends_no_header_or_nothing_behind_it_makes_room(begun, budget):
    with listening(limits=replace(TRUSTING, **budget)) as (acceptor, _):
        silent = [socket.create_connection(("127.0.0.1", acceptor.port), 5) for _ in range(10)]
        for made in silent:
            made.sendall(begun)
        assert wait_until(lambda: acceptor.connections == 10)
        assert answer(acceptor, header("192.0.2.9") + REQUEST) == ACCEPTED
        assert silent[0].recv(1)[0] == REJECTED
        for made in silent:
            made.close()


def test_a_proxy_that_says_nothing_is_closed_in_time(monkeypatch):
    monkeypatch.setattr(acceptor_module, "SETUP_TIMEOUT_SECONDS", 0.3)
    with (
        listening(limits=TRUSTING) as (acceptor, _),
        socket.create_connection(("127.0.0.1", acceptor.port), 5) as made,
    ):
        made.sendall(SIGNATURE[:5])
        assert made.recv(10) == b""


def test_a_client_behind_the_proxy_that_has_every_association_keeps_no_other_client_out(
    monkeypatch,
):
    monkeypatch.setattr(budgets, "PLACE_TIMEOUT_SECONDS", 0.0)
    with listening(limits=replace(TRUSTING, places=Limits(2, reserved=6))) as (acceptor, _):
        held = []
        for _ in range(2):
            made = socket.create_connection(("127.0.0.1", acceptor.port), 5)
            made.sendall(header("192.0.2.9") + REQUEST)
            assert made.recv(1)[0] == ACCEPTED
            held.append(made)
        assert answer(acceptor, header("192.0.2.9") + REQUEST) == REJECTED
        assert answer(acceptor, header("192.0.2.10") + REQUEST) == ACCEPTED
        for made in held:
            made.close()
