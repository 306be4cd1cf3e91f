"""What a service says of itself is told from silence and from somebody else on its port."""

import socket
import threading

import pytest

from tools import service_process
from tools.service_process import SERVICES, ServiceProcess


def _process(port, tmp_path):
    service = SERVICES[0]
    return ServiceProcess(service, {service.http_variable: str(port)}, tmp_path / "log")


@pytest.mark.parametrize(
    "said", [b"", b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x01", b"\n", b"\xff\n"]
)
def test_a_stranger_on_the_port_is_no_answer(said, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def answer():
            connection, _ = stranger.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        assert _process(stranger.getsockname()[1], tmp_path).answer("/readyz") == (0, "")
        thread.join()


def test_nobody_on_the_port_is_no_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert _process(port, tmp_path).answer("/readyz") == (0, "")


@pytest.mark.parametrize("status", [b"200 OK", b"503 Service Unavailable"])
def test_an_answer_that_stops_after_its_header_is_no_answer(status, tmp_path, monkeypatch):
    """A machine that is busy may take longer for the body than a probe waits."""
    monkeypatch.setattr(service_process, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def answer():
            connection, _ = slow.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 9\r\n\r\n{")
                connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        assert _process(slow.getsockname()[1], tmp_path).answer("/readyz") == (0, "")
        thread.join()
