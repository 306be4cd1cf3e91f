"""The DICOM port follows the configuration; running associations do not notice.

Not covered here: TLS itself, and how the configuration gets here.
"""

import socket
import time

import pytest

from draw_scp.adapters.listener import Listener
from draw_scp.app import Scp
from draw_scp.settings import Settings
from draw_shared.contracts.server_config import EVERYTHING, NetworkConfig
from support.datasets import build
from support.kept_config import keep_config
from support.raw_stores import raw_association
from tools.processes import free_port, wait_until


class Bench:
    def __init__(self, folder):
        keep_config(folder)
        self.app = Scp(
            Settings(
                replica="one",
                storage_root=folder,
                database_url="postgresql://nobody@127.0.0.1:1/none",
                broker_url="amqp://127.0.0.1:1/x",
            )
        )
        self.app._objects.start()
        self.config = EVERYTHING
        self.change(port=free_port(), host="127.0.0.1")
        self.listener = Listener(self.app._listener._provider, lambda: self.config, drain_seconds=5)
        self.listener.start()

    def change(self, **network):
        held = self.config.network.model_dump() | network
        self.config = self.config.model_copy(update={"network": NetworkConfig(**held)})

    def applied(self):
        self.listener.apply()
        return wait_until(lambda: self.listener.listening, 60)

    def end(self):
        self.listener.stop(3)
        self.app._objects.stop(1)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.end()


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
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


def test_another_address_on_the_same_port(bench):
    port = bench.listener.port
    bench.change(host="0.0.0.0")
    assert bench.applied()
    made = build()
    with raw_association(port, made) as association:
        assert association.send(made) == 0


def test_a_taken_port_leaves_the_old_one_open_and_is_tried_again(bench):
    old, made = bench.listener.port, build()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bench.change(port=taken.getsockname()[1])
        bench.listener.apply()
        assert wait_until(lambda: bench.listener.last_error, 60)
        assert not bench.listener.listening
        with raw_association(old, made) as association:
            assert association.send(made) == 0
    assert wait_until(lambda: bench.listener.listening, 60)
    assert not bench.listener.last_error


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
    acceptor = bench.listener._acceptor
    bench.change(max_associations=1)
    bench.listener.apply()
    time.sleep(0.2)
    assert bench.listener._acceptor is acceptor
    made = build()
    with raw_association(bench.listener.port, made), pytest.raises(AssertionError):
        raw_association(bench.listener.port, made).__enter__()
