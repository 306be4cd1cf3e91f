"""The DICOM port follows the configuration; running associations do not notice.

Not covered here: what makes a certificate unusable (unit/shared/dicom/test_tls), and how the
configuration gets here.
"""

import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from draw_scp.adapters.listener import Listener
from draw_scp.app import Scp
from draw_scp.settings import ScpSettings
from draw_shared.contracts.server_config import EVERYTHING, NetworkConfig
from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.peer_failures import PeerCongested, PeerTrouble
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.runtime.desired_state import Wanted
from support.certificates import trust
from support.datasets import build
from support.kept_config import keep_config
from support.operating import self_signed
from support.raw_stores import raw_association, rejection
from support.waiting import wait_until
from tools.processes import free_port


class Bench:
    def __init__(self, folder, **network):
        keep_config(folder)
        self.app = Scp(
            ScpSettings(
                replica="one",
                storage_root=folder,
                database_url="postgresql://nobody@127.0.0.1:1/none",
                broker_url="amqp://127.0.0.1:1/x",
            )
        )
        self.app._objects.start()
        self.config = EVERYTHING
        self.change(port=free_port(), host="127.0.0.1", **network)
        self.desired = Wanted(running=True)
        self.listener = Listener(
            self.app._listener._provider,
            lambda: self.config,
            drain_seconds=5,
            desired=lambda: self.desired,
        )
        self.listener.start()

    def change(self, **network):
        held = self.config.network.model_dump() | network
        self.config = self.config.model_copy(update={"network": NetworkConfig(**held)})

    def applied(self):
        self.listener.apply()
        return wait_until(lambda: self.listener.as_wanted, 60)

    def refused(self, words):
        """Return whether a change was tried and given up for this reason."""
        self.listener.apply()
        return wait_until(lambda: words in self.listener.problem, 60)

    def end(self):
        self.listener.stop(3)
        self.app._objects.stop(1)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.end()


NO_FILES = {"enabled": True, "certificate_file": "/no/c.pem", "key_file": "/no/k.pem"}


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_new_port_opens_and_running_associations_go_on(bench):
    old, made = bench.listener.port, build()
    with raw_association(old, made) as before:
        bench.change(port=free_port())
        assert bench.applied()
        assert bench.listener.port != old
        assert wait_until(lambda: refuses(old), 60)
        with raw_association(bench.listener.port, made) as after:
            assert after.send(build()) == 0
        assert before.send(build()) == 0
        assert bench.listener.active_associations == 1


NO_PDU = b"neither DICOM nor TLS"
ABORT = b"\7"


@contextmanager
def callers(port):
    """Connect and be answered again and again, on two threads; yield failures and answers."""
    stop, failures, connected = threading.Event(), [], []

    def call():
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=30) as caller:
                    # No PDU, so that a plain acceptor answers by A-ABORT and one with TLS by an
                    # alert; both by a byte that a reset would take away.
                    caller.sendall(NO_PDU)
                    connected.append(caller.recv(1))
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield failures, connected
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_other_addresses_on_the_same_port_turn_nobody_away(bench):
    port = bench.listener.port
    made = build()
    with callers(port) as (failures, connected), raw_association(port, made) as before:
        for number, host in enumerate(("0.0.0.0", "::", "127.0.0.1")):
            bench.change(host=host)
            assert bench.applied()
            assert bench.listener.bound == [{"host": host, "port": port, "tls": False}]
            already = len(connected)
            assert wait_until(lambda already=already: len(connected) > already + 50, 60)
            assert before.send(build()) == 0, number
    assert failures == []
    assert set(connected) == {ABORT}
    with raw_association(port, made) as association:
        assert association.send(made) == 0
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"host": "192.0.2.1"}, "192.0.2.1 is no address of this machine"),
        ({"host": "nobody.invalid"}, "the name nobody.invalid has no address here"),
        (
            {"tls": NO_FILES},
            "the certificate /no/c.pem is not there",
        ),
        (
            {"tls": NO_FILES | {"port": 0}},
            "the certificate /no/c.pem is not there",
        ),
    ],
)
def test_what_cannot_be_had_leaves_the_old_one_and_turns_nobody_away(bench, network, words):
    port, before = bench.listener.port, bench.config
    with callers(port) as (failures, connected):
        bench.change(**network)
        assert bench.refused(words)
        tried = len(connected)
        assert wait_until(lambda: len(connected) > tried + 500, 60)
    assert failures == []
    assert set(connected) == {ABORT}
    assert bench.listener.problem == f"still on 127.0.0.1:{port} without TLS, because {words}"
    assert bench.listener.listening
    assert bench.listener.bound == [{"host": "127.0.0.1", "port": port, "tls": False}]
    bench.config = before
    bench.listener.apply()
    assert wait_until(lambda: not bench.listener.problem, 60)


def test_an_address_that_another_program_holds_on_the_port_leaves_the_old_one(bench):
    port = bench.listener.port
    with socket.create_server(("127.0.0.2", port)):
        bench.change(host="0.0.0.0")
        assert bench.refused(f"0.0.0.0:{port} is in use by another program")
        assert not refuses(port)
    assert wait_until(lambda: bench.listener.as_wanted, 60)


def test_tls_turns_on_when_its_files_have_come_and_nobody_is_turned_away(bench, tmp_path):
    port = bench.listener.port
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files = {"certificate_file": str(certificate), "key_file": str(key)}
    with callers(port) as (failures, _), raw_association(port, build()) as before:
        bench.change(tls={"enabled": True, "port": 0, **files})
        assert bench.refused("is not there")
        self_signed(tmp_path)
        assert wait_until(lambda: bench.listener.as_wanted, 60)
        assert bench.listener.bound == [{"host": "127.0.0.1", "port": port, "tls": True}]
        assert before.send(build()) == 0
    # Who speaks no TLS is cut off then, but not turned away.
    assert not any(isinstance(failure, ConnectionRefusedError) for failure in failures)
    with open_association(
        Remote("127.0.0.1", port, "DRAW_SCP", "TESTER", 10.0, tls=trust(str(certificate))),
        (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),),
    ) as made:
        assert made.echo() == 0


def test_who_has_connected_before_a_change_is_served_after_it(bench):
    port = bench.listener.port
    with socket.create_connection(("127.0.0.1", port)) as early:
        assert wait_until(lambda: bench.listener.connections == 1, 60)
        bench.change(host="0.0.0.0")
        assert bench.applied()
        early.sendall(NO_PDU)
        assert early.recv(1) == ABORT


def test_without_its_files_it_starts_closed_says_why_and_opens_when_they_come(tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files = {"certificate_file": str(certificate), "key_file": str(key)}
    bench = Bench(
        tmp_path,
        tls={"enabled": True, "port": 0, **files},
    )
    try:
        port = bench.config.network.port
        assert bench.listener.problem == (
            f"not listening, because the certificate {certificate} is not there"
        )
        assert not bench.listener.listening
        assert bench.listener.bound == []
        assert refuses(port)
        self_signed(tmp_path)
        assert wait_until(lambda: bench.listener.listening and not bench.listener.problem, 60)
        assert bench.listener.bound == [{"host": "127.0.0.1", "port": port, "tls": True}]
    finally:
        bench.end()


@pytest.fixture
def secured(tmp_path):
    """Settings of TLS on a port of its own, and how a client speaks it."""
    certificate, key = self_signed(tmp_path)
    files = {"certificate_file": str(certificate), "key_file": str(key)}
    return {"enabled": True, "port": free_port(), **files}, trust(str(certificate))


def echoes(port, how=None):
    """Return whether a C-ECHO is answered at a port, without TLS or with."""
    remote = Remote("127.0.0.1", port, "DRAW_SCP", "TESTER", 10.0, tls=how)
    try:
        with open_association(remote, (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),)) as a:
            return a.echo() == 0
    except PeerTrouble:
        return False


def places(bench):
    return [(one["port"], one["tls"]) for one in bench.listener.bound]


def test_plain_and_tls_side_by_side_then_tls_alone_and_back(bench, secured):
    tls, how = secured
    plain = bench.listener.port
    with callers(plain) as (failures, connected), raw_association(plain, build()) as before:
        bench.change(tls=tls)
        assert bench.applied()
        assert places(bench) == [(plain, False), (tls["port"], True)]
        assert echoes(plain)
        assert echoes(tls["port"], how)
        assert not echoes(tls["port"]), "what is spoken there is TLS"
        assert bench.listener.port == plain
        assert before.send(build()) == 0
        already = len(connected)
        assert wait_until(lambda: len(connected) > already + 50, 60)
    assert (failures, set(connected)) == ([], {ABORT})
    with open_association(
        Remote("127.0.0.1", tls["port"], "DRAW_SCP", "TESTER", 10.0, tls=how),
        (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),),
    ) as over_tls:
        bench.change(tls=tls | {"keep_plain_port": False})
        assert bench.applied()
        assert places(bench) == [(tls["port"], True)]
        assert wait_until(lambda: refuses(plain), 60)
        bench.change(tls=tls | {"enabled": False})
        assert bench.applied()
        assert places(bench) == [(plain, False)]
        assert wait_until(lambda: refuses(tls["port"]), 60)
        assert echoes(plain)
        assert over_tls.echo() == 0, "who has connected is served to the end"


def test_ports_may_change_places_and_turn_nobody_away(bench, secured):
    tls, how = secured
    plain = bench.listener.port
    bench.change(tls=tls)
    assert bench.applied()
    with callers(plain) as (failures, _), callers(tls["port"]) as (others, _):
        bench.change(port=tls["port"], tls=tls | {"port": plain})
        assert bench.applied()
        assert places(bench) == [(tls["port"], False), (plain, True)]
        # For a moment the old listener accepts from the same sockets.
        assert wait_until(lambda: echoes(plain, how), 60)
        assert wait_until(lambda: echoes(tls["port"]), 60)
    assert not any(isinstance(one, ConnectionRefusedError) for one in failures + others)


def test_both_ports_share_one_budget(bench, secured):
    tls, how = secured
    bench.change(tls=tls, max_associations=1, reserved_associations=0)
    assert bench.applied()
    with raw_association(bench.listener.port, build()):
        remote = Remote("127.0.0.1", tls["port"], "DRAW_SCP", "TESTER", 10.0, tls=how)
        with pytest.raises(PeerCongested):
            open_association(remote, (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),))
    assert wait_until(lambda: echoes(tls["port"], how), 60)


def test_of_two_ports_the_one_that_can_be_had_is_opened_and_the_other_tried_again(
    tmp_path, secured
):
    tls, how = secured
    kept = tmp_path / "kept.pem"
    Path(tls["certificate_file"]).rename(kept)
    bench = Bench(tmp_path, tls=tls)
    try:
        plain = bench.config.network.port
        assert bench.listener.listening
        assert places(bench) == [(plain, False)]
        assert bench.listener.problem == (
            f"still on 127.0.0.1:{plain} without TLS, because the certificate"
            f" {tls['certificate_file']} is not there"
        )
        assert echoes(plain)
        kept.rename(tls["certificate_file"])
        assert wait_until(lambda: bench.listener.as_wanted, 60)
        assert not bench.listener.problem
        assert echoes(tls["port"], how)
    finally:
        bench.end()


def test_one_port_cannot_be_wanted_with_and_without_tls(bench, secured):
    tls, how = secured
    plain = bench.listener.port
    bench.change(tls=tls | {"port": plain})
    assert bench.refused(f"port {plain} is wanted both with and without TLS")
    assert echoes(plain)
    bench.change(tls=tls | {"port": plain, "keep_plain_port": False})
    assert bench.applied()
    assert wait_until(lambda: echoes(plain, how), 60)


def test_a_tls_port_that_another_program_holds_leaves_the_plain_one_as_it_is(bench, secured):
    tls, how = secured
    with socket.create_server(("127.0.0.1", tls["port"])):
        bench.change(tls=tls)
        assert bench.refused(f"127.0.0.1:{tls['port']} is in use by another program")
        assert echoes(bench.listener.port)
    assert wait_until(lambda: bench.listener.as_wanted, 60)
    assert echoes(tls["port"], how)


def test_a_restart_is_a_new_listener_that_turns_nobody_away(bench):
    acceptor = bench.listener._open.acceptor
    with callers(bench.listener.port) as (failures, connected):
        bench.desired = Wanted(running=True, restarts=1)
        assert bench.applied()
        already = len(connected)
        assert wait_until(lambda: len(connected) > already + 50, 60)
    assert bench.listener._open.acceptor is not acceptor
    assert failures == []
    assert set(connected) == {ABORT}


def test_what_the_old_listener_serves_counts_for_the_new_one(bench):
    bench.change(max_associations=1, reserved_associations=0)
    made = build()
    with raw_association(bench.listener.port, made):
        bench.desired = Wanted(running=True, restarts=1)
        assert bench.applied()
        assert rejection(bench.listener.port) == (2, 3, 2)
    assert wait_until(lambda: bench.listener.active_associations == 0, 60)
    with raw_association(bench.listener.port, made) as association:
        assert association.send(made) == 0


def test_a_taken_port_leaves_the_old_one_open_and_is_tried_again(bench):
    old, made = bench.listener.port, build()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bench.change(port=taken.getsockname()[1])
        bench.listener.apply()
        assert bench.refused("is in use by another program")
        assert not bench.listener.as_wanted
        with raw_association(old, made) as association:
            assert association.send(made) == 0
    assert wait_until(lambda: bench.listener.as_wanted, 60)
    assert not bench.listener.problem


def test_switched_off_it_does_not_listen_and_on_again_it_does(bench):
    port, on = bench.listener.port, bench.config
    bench.config = on.model_copy(
        update={"services": on.services.model_copy(update={"enabled": False})}
    )
    assert bench.applied()
    assert wait_until(lambda: refuses(port), 60)
    bench.config = on
    assert bench.applied()
    assert not refuses(port)


def test_a_change_of_limits_needs_no_new_listener(bench):
    acceptor = bench.listener._open.acceptor
    bench.change(max_associations=1)
    bench.listener.apply()
    time.sleep(0.2)
    assert bench.listener._open.acceptor is acceptor
    made = build()
    with raw_association(bench.listener.port, made), pytest.raises(AssertionError):
        raw_association(bench.listener.port, made).__enter__()
