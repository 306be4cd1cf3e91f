"""Probes that go away before their answer is read, as load balancers' do, leave no trace."""

import socket
import struct
import time

from prometheus_client import CollectorRegistry

from draw_shared.runtime.health import Health, HealthServer
from draw_shared.runtime.lifecycle import State

PROBES = 20
RESET = struct.pack("ii", 1, 0)


def test_a_probe_that_resets_its_connection_is_no_error(capfd):
    server = HealthServer("127.0.0.1", 0, Health(lambda: State.READY, {}), CollectorRegistry())
    server.start()
    try:
        for _ in range(PROBES):
            with socket.create_connection(("127.0.0.1", server.port)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                probe.sendall(b"GET /readyz HTTP/1.0\r\n")
        time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", server.port), 5) as probe:
            probe.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            assert probe.recv(100).startswith(b"HTTP/1.0 200")
    finally:
        server.stop(1)
    said = capfd.readouterr()
    assert said.err == ""
    assert "health.answer_failed" not in said.out
