"""`make run` from its first line to its last process.

Installing packages is not covered here: `.ci/run` does it on a bare machine.
"""

import os
import signal
import socket
import stat
import time

import httpx
import pytest

from support import datasets, senders
from support.launched import Launched
from support.suite import signed_in
from tools.processes import alive, command_line, free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

STOP_SECONDS = 10
# The promise is 15 s on a machine of its own; here other suites start on the same two cores.
SECOND_START_SECONDS = 60


@pytest.fixture
def launch(tmp_path):
    """Start a launcher in a home below the test's folder; nothing of it outlives the test."""
    launched = []

    def start(home="home", **given):
        one = Launched(tmp_path / home, **given)
        launched.append(one)
        return one

    yield start
    for one in launched:
        one.kill_everything()


def _echo(port):
    with senders.association(port, [senders.build_context("1.2.840.10008.1.1")]) as made:
        return made.send_c_echo().Status


def test_ready_line_then_the_second_run_and_ctrl_c(launch):
    first = launch()
    line = first.wait_ready()
    assert f"DRAW_SCP at 127.0.0.1:{first.dicom_port}" in line
    assert f"http://127.0.0.1:{first.api_port}" in line
    password_file = first.home / "admin-password"
    assert str(password_file) in line
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert _echo(first.dicom_port) == 0
    one = datasets.build()
    assert senders.send_objects(first.dicom_port, [one]) == [0]

    began = time.monotonic()
    first.signal(signal.SIGINT)
    assert first.wait(STOP_SECONDS) == 0
    assert time.monotonic() - began < STOP_SECONDS
    assert first.processes() == []
    assert len(first.ready_lines) == 1

    began = time.monotonic()
    second = launch()
    second.wait_ready()
    assert time.monotonic() - began < SECOND_START_SECONDS
    with signed_in(second.web_url, password=second.password) as client:
        answer = client.get(f"/api/v1/studies/{one.StudyInstanceUID}")
        assert answer.status_code == httpx.codes.OK
    second.signal(signal.SIGTERM)
    assert second.wait(STOP_SECONDS) == 0
    assert second.processes() == []


def test_two_suites_run_side_by_side(launch):
    one, other = launch("one"), launch("other")
    one.wait_ready()
    other.wait_ready()
    made = datasets.build()
    assert senders.send_objects(one.dicom_port, [made]) == [0]
    assert _echo(other.dicom_port) == 0
    path = f"/api/v1/studies/{made.StudyInstanceUID}"
    with signed_in(one.web_url, password=one.password) as client:
        assert wait_until(lambda: client.get(path).status_code == httpx.codes.OK, 5)
    with signed_in(other.web_url, password=other.password) as client:
        assert client.get(path).status_code == httpx.codes.NOT_FOUND
    one.signal(signal.SIGTERM)
    assert one.wait(STOP_SECONDS) == 0
    assert _echo(other.dicom_port) == 0


def test_after_kill_9_of_everything_it_runs_again(launch):
    first = launch()
    first.wait_ready()
    one = datasets.build()
    assert senders.send_objects(first.dicom_port, [one]) == [0]
    first.kill_everything()
    second = launch()
    second.wait_ready()
    with signed_in(second.web_url, password=second.password) as client:
        path = f"/api/v1/studies/{one.StudyInstanceUID}"
        assert wait_until(lambda: client.get(path).status_code == httpx.codes.OK, 10)


def test_what_a_killed_launcher_leaves_is_replaced_and_a_crashed_service_comes_back(launch):
    first = launch()
    first.wait_ready()
    first.process.kill()
    first.process.wait()
    left = first.processes()
    assert left
    second = launch(DRAW_SCP_PORT=str(first.dicom_port), DRAW_API_PORT=str(first.api_port))
    second.wait_ready()
    assert [pid for pid in left if alive(pid)] == []

    receiver = _service(second, "draw_scp")
    os.kill(receiver, signal.SIGKILL)
    assert wait_until(lambda: _service(second, "draw_scp") not in {None, receiver}, 10)
    assert wait_until(lambda: _listens(second.dicom_port), 20)
    assert _echo(second.dicom_port) == 0
    assert "scp ended unexpectedly" in second.said


def _service(launched, module):
    running = [pid for pid in launched.processes() if module in command_line(pid)]
    return running[0] if running else None


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_second_launcher_in_the_same_home_is_refused(launch):
    first = launch()
    first.wait_ready()
    other = launch()
    assert other.wait(20) == 1
    assert "in use by process" in other.said
    assert _echo(first.dicom_port) == 0


@pytest.mark.parametrize("variable", ["DRAW_SCP_PORT", "DRAW_API_PORT"])
def test_a_port_in_use_is_named(launch, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        launched = launch(**{variable: str(port)})
        assert launched.wait(60) == 1
    assert f"port {port} is in use" in launched.said
    assert f"{variable}=" in launched.said
    assert launched.ready_lines == []
    assert launched.processes() == []


def test_a_wrong_setting_is_named(launch):
    launched = launch(DRAW_SCP_AE_TITLE="much too long for an AE title")
    assert launched.wait(60) == 1
    assert "ae_title" in launched.said
    assert "Traceback" not in launched.said


def test_a_second_signal_forces(launch):
    launched = launch()
    launched.wait_ready()
    launched.signal(signal.SIGTERM)
    assert wait_until(lambda: "stopping" in launched.said, 5)
    began = time.monotonic()
    launched.signal(signal.SIGTERM)
    launched.wait(5)
    assert time.monotonic() - began < 5
    assert wait_until(lambda: launched.processes() == [], 5)


def test_a_signal_during_the_start_stops_it(launch):
    launched = launch()
    assert wait_until(lambda: "PostgreSQL" in launched.said, 30)
    launched.signal(signal.SIGINT)
    assert launched.wait(STOP_SECONDS) == 0
    assert launched.processes() == []


def test_given_servers_are_used_and_left_alone(launch, database_url, broker_url):
    launched = launch(
        DRAW_DATABASE_URL=database_url,
        DRAW_BROKER_URL=broker_url,
        DRAW_ADMIN_PASSWORD="given-by-the-operator",
        DRAW_SCP_HTTP_PORT=str(free_port()),
    )
    line = launched.wait_ready()
    assert "given-by-the-operator" not in launched.said
    assert "DRAW_ADMIN_PASSWORD" in line
    assert not (launched.home / "postgres").exists()
    assert not (launched.home / "admin-password").exists()
    with signed_in(launched.web_url, password="given-by-the-operator") as client:
        assert client.get("/api/v1/me").json()["name"] == "admin"
    assert not (launched.home / "rabbitmq").exists()
