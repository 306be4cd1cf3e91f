"""What a service says of itself is told from silence and from somebody else on its port."""

import socket
import threading

import pytest

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
