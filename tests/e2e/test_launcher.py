"""`make run` from its first line to its last process.

Installing packages is not covered here: `.ci/run` does it on a bare machine.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from support import datasets, senders, service_finder
from support.install_page import InstallPage
from support.launched import Launched
from support.service_finder import ROOT
from support.suite import signed_in
from support.waiting import wait_until
from tools.local_postgres import PASSABLE
from tools.processes import alive, command_line, free_port

pytestmark = pytest.mark.e2e

# The promises are 10 s and 15 s on a machine of its own; here other suites start on the same
# two cores.
STOP_SECONDS = 60
SECOND_START_SECONDS = 120


@contextmanager
def launcher(folder):
    """Yield a function that starts a launcher in a home there; nothing of it stays."""
    launched = []

    def start(home="home", **given):
        one = Launched(folder / home, **given)
        launched.append(one)
        return one

    try:
        yield start
    finally:
        for one in launched:
            one.kill_everything()


@pytest.fixture
def launch(tmp_path):
    """Start a launcher in a home of this test."""
    with launcher(tmp_path) as start:
        yield start


# --- one home over four starts, each of which the next one follows ------------------------


@pytest.fixture(scope="module")
def launch_again(tmp_path_factory):
    """Start a launcher in the home of these tests."""
    with launcher(tmp_path_factory.mktemp("launched")) as start:
        yield start


@pytest.fixture(scope="module")
def study():
    """An object that the first start stores."""
    return datasets.build()


@pytest.fixture(scope="module")
def last_study():
    """An object that is acknowledged just before everything is killed."""
    return datasets.build()


@pytest.fixture(scope="module")
def first(launch_again, study):
    """The first start, ready, with an object stored."""
    launched = launch_again()
    launched.wait_ready()
    assert senders.send_objects(launched.dicom_port, [study]) == [0]
    return launched


@pytest.fixture(scope="module")
def interrupted(first):
    """The first start after a Ctrl-C, its receiver stopped, and the seconds that it then lasted."""
    with signed_in(first.web_url, password=first.password) as client:
        client.post("/api/v1/services/scp/stop").raise_for_status()
    began = time.monotonic()
    first.signal(signal.SIGINT)
    assert first.wait(STOP_SECONDS) == 0
    return first, time.monotonic() - began


@pytest.fixture(scope="module")
def second(interrupted, launch_again):
    """The start after the Ctrl-C, and the seconds until it was ready."""
    began = time.monotonic()
    launched = launch_again(DRAW_LOG_FILE_BYTES="4096", DRAW_ADMIN_PASSWORD="another, too late")
    launched.wait_ready()
    return launched, time.monotonic() - began


@pytest.fixture(scope="module")
def stopped_demo(second):
    """What the demo says while the receiver is stopped, which then is started."""
    launched, _ = second
    done = _demo(launched)
    with signed_in(launched.web_url, password=launched.password) as client:
        client.post("/api/v1/services/scp/start").raise_for_status()
    assert wait_until(lambda: _listens(launched.dicom_port), 60)
    return done


@pytest.fixture(scope="module")
def orphans(second, stopped_demo):
    """What a kill of the launcher alone leaves, after associations that fill two log files."""
    killed, _ = second
    killed.process.kill()
    killed.process.wait()
    assert {_echo(killed.dicom_port) for _ in range(30)} == {0}
    return killed, killed.processes()


@pytest.fixture(scope="module")
def third(orphans, launch_again):
    """The start on the same ports after a kill of the launcher alone, and what that left."""
    killed, left = orphans
    launched = launch_again(
        DRAW_SCP_PORT=str(killed.dicom_port), DRAW_API_PORT=str(killed.api_port)
    )
    launched.wait_ready()
    return launched, left


@pytest.fixture(scope="module")
def without_certificate(third, launch_again, last_study):
    """The start after a kill of everything, with TLS on and no certificate there."""
    killed, _ = third
    assert senders.send_objects(killed.dicom_port, [last_study]) == [0]
    files = {"certificate_file": "/nowhere/c.pem", "key_file": "/nowhere/k.pem"}
    _set_tls(killed, enabled=True, port=0, **files)
    killed.kill_everything()
    launched = launch_again()
    launched.wait_ready()
    return launched, _listens(launched.dicom_port)


@pytest.fixture(scope="module")
def fourth(without_certificate):
    """The start after a kill of everything, mended on the page."""
    launched, _ = without_certificate
    _set_tls(launched, enabled=False)
    assert wait_until(lambda: _listens(launched.dicom_port), 60)
    return launched


def _set_tls(launched, **settings):
    with signed_in(launched.web_url, password=launched.password) as client:
        patch = {"network": {"tls": settings}}
        answer = client.patch("/api/v1/config", json=patch, headers={"If-Match": "*"})
        answer.raise_for_status()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """docs/install.md."""
    return InstallPage(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def restored(fourth, page):
    """Another home with what was backed up of the fourth start, never started."""
    home = fourth.home.with_name("other")
    for name, where in (("back-up", fourth.home), ("restore", home)):
        done = page.run(name, fourth, home=where)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(fourth.home / "admin-password", home)
    return home


@pytest.fixture(scope="module")
def neighbour(restored, launch_again):
    """A suite in another home, restored from a backup, beside the fourth start."""
    launched = launch_again(restored.name)
    launched.wait_ready()
    return launched


def _echo(port):
    with senders.association(port, [senders.build_context("1.2.840.10008.1.1")]) as made:
        return made.send_c_echo().Status


def _demo(launched, **given):
    return subprocess.run(
        [sys.executable, "-m", "tools.demo"],
        cwd=ROOT,
        env=launched.inherited | {"DRAW_HOME": str(launched.home)} | given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _answer(launched, study):
    with signed_in(launched.web_url, password=launched.password) as client:
        return client.get(f"/api/v1/studies/{study.StudyInstanceUID}").status_code


def test_the_ready_line_says_where_everything_is(first):
    [line] = first.ready_lines
    assert f"DRAW_SCP at 127.0.0.1:{first.dicom_port}" in line
    assert f"http://127.0.0.1:{first.api_port}" in line
    password_file = first.home / "admin-password"
    assert str(password_file) in line
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert _echo(first.dicom_port) == 0


def test_what_lies_in_the_home_is_its_users_alone(first):
    entries = [first.home, *first.home.rglob("*")]
    # Where root may not give PostgreSQL the right to reach its folder, others pass through two.
    passable = {first.home, first.home / "postgres"}
    seen = {}
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
            allowed = PASSABLE if entry in passable and os.geteuid() == 0 else 0
            if mode & 0o077 & ~allowed and not entry.is_symlink():
                seen[str(entry.relative_to(first.home))] = oct(mode)
    assert len(entries) > 20
    assert seen == {}


def test_ctrl_c_leaves_no_process(interrupted):
    stopped, seconds = interrupted
    assert seconds < STOP_SECONDS
    assert stopped.processes() == []
    assert len(stopped.ready_lines) == 1


def test_the_second_start_is_quick_and_has_what_was_stored(second, study):
    launched, seconds = second
    assert seconds < SECOND_START_SECONDS
    # Ctrl-C came at once after the answer: the second start may have had to announce it.
    assert wait_until(lambda: _answer(launched, study) == httpx.codes.OK, 60)


def test_the_ready_line_says_that_the_receiver_is_stopped_and_which_password_works(second):
    launched, _ = second
    [line] = launched.ready_lines
    assert "the receiver DRAW_SCP is stopped" in line
    assert str(launched.dicom_port) not in line
    assert f"password in {launched.home / 'admin-password'} " in line
    assert line.endswith(f", dicomweb http://127.0.0.1:{launched.dicomweb_port}/dicom-web")
    assert "DRAW_ADMIN_PASSWORD has another" in line


def test_the_demo_says_that_the_receiver_is_stopped(stopped_demo):
    assert stopped_demo.returncode == 1
    assert "the receiver is stopped" in stopped_demo.stderr
    assert stopped_demo.stderr.count("\n") == 1


def test_a_second_launcher_in_the_same_home_is_refused(second, stopped_demo, launch_again):
    running, _ = second
    other = launch_again()
    assert other.wait(20) == 1
    assert "in use by process" in other.said
    assert _echo(running.dicom_port) == 0


def test_logs_rotate_while_the_services_run_also_without_a_launcher(orphans):
    killed, _ = orphans
    files = list((killed.home / "logs").glob("scp.log.[0-9]"))
    assert len(files) >= 2
    assert all(path.stat().st_size < 8192 for path in files)
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert "association.closed" in {json.loads(line)["event"] for line in lines}


def test_what_a_killed_launcher_leaves_is_replaced(third):
    _, left = third
    assert left
    assert [pid for pid in left if alive(pid)] == []


def test_a_crashed_service_comes_back(third):
    launched, _ = third
    receiver = _service(launched, "draw_scp")
    os.kill(receiver, signal.SIGKILL)
    assert wait_until(lambda: _service(launched, "draw_scp") not in {None, receiver}, 60)
    assert wait_until(lambda: _listens(launched.dicom_port), 60)
    assert _echo(launched.dicom_port) == 0
    assert "scp ended unexpectedly" in launched.said


def _service(launched, module):
    running = [pid for pid in launched.processes() if module in command_line(pid)]
    return running[0] if running else None


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_with_tls_that_it_cannot_speak_it_accepts_nothing_and_says_why(without_certificate):
    launched, listened = without_certificate
    assert not listened
    [line] = launched.ready_lines
    assert (
        "no DICOM, the receiver DRAW_SCP is not listening,"
        " because the certificate /nowhere/c.pem is not there, web" in line
    )


def test_after_kill_9_of_everything_it_runs_again(fourth, study, last_study):
    assert wait_until(lambda: _answer(fourth, last_study) == httpx.codes.OK, 60)
    assert _answer(fourth, study) == httpx.codes.OK


def test_the_demo_says_where_a_suite_runs_when_none_does_here(fourth, tmp_path):
    done = _demo(fourth, DRAW_HOME=str(tmp_path))
    assert done.returncode == 1
    assert f"no suite runs in {tmp_path}" in done.stderr
    assert f"DRAW_HOME={fourth.home}" in done.stderr


def test_the_demo_says_that_nobody_answers_at_another_port(fourth):
    port = str(free_port())
    done = _demo(fourth, DRAW_SCP_PORT=port)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert f"127.0.0.1:{fourth.dicom_port}" in done.stderr


def test_the_demo_says_that_it_is_rejected_and_else_finds_the_suite(fourth):
    with signed_in(fourth.web_url, password=fourth.password) as client:

        def only_known(wanted):
            tag = client.get("/api/v1/config").headers["ETag"]
            security = {"security": {"validate_calling_ae": wanted}}
            client.patch(
                "/api/v1/config", json=security, headers={"If-Match": tag}
            ).raise_for_status()

        only_known(True)
        try:
            assert wait_until(lambda: "rejects" in _demo(fourth).stderr, 60)
        finally:
            only_known(False)
    assert wait_until(lambda: "C-FIND: 1 study" in _demo(fourth).stdout, 60)


def test_what_the_page_says_of_sending_works(fourth, page):
    for number, one in enumerate(datasets.series(3, PatientID="INSTALL")):
        one.save_as(page.srv / "objects" / f"{number}.dcm", enforce_file_format=True)
    for name in ("send", "python"):
        done = page.run(name, fourth)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("0x0000") == 3


def test_a_restored_suite_has_everything_and_agrees_with_its_disk(neighbour, study, page):
    assert _answer(neighbour, study) == httpx.codes.OK
    done = page.run("compare", neighbour)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 rows without file" in done.stdout


def test_who_forgot_the_password_sets_another(neighbour, page):
    (page.root / "new-password").write_text("as good as the other")
    done = page.run("password", neighbour)
    assert done.returncode == 0, done.stderr
    with signed_in(neighbour.web_url, password="as good as the other") as client:
        assert client.get("/api/v1/me").json()["name"] == "admin"
    (neighbour.home / "admin-password").write_text("as good as the other")


def test_two_suites_run_side_by_side(fourth, neighbour):
    made = datasets.build()
    assert senders.send_objects(fourth.dicom_port, [made]) == [0]
    assert wait_until(lambda: _answer(fourth, made) == httpx.codes.OK, 60)
    assert _echo(neighbour.dicom_port) == 0
    assert _answer(neighbour, made) == httpx.codes.NOT_FOUND
    neighbour.signal(signal.SIGTERM)
    assert neighbour.wait(STOP_SECONDS) == 0
    assert neighbour.processes() == []
    assert _echo(fourth.dicom_port) == 0


def test_what_the_page_says_of_tls_works(fourth, page):
    assert page.run("ca", fourth).returncode == 0
    with signed_in(fourth.web_url, password=fourth.password) as client:
        token = client.post("/api/v1/tokens", json={"name": "install", "role": "admin"}).json()
    _set_tls(fourth, port=fourth.tls_port)
    done = page.run("tls", fourth, TOKEN=token["token"])
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: page.run("tls-echo", fourth).returncode == 0, 60)
    assert _echo(fourth.dicom_port) == 0, "devices move one by one"
    _set_tls(fourth, keep_plain_port=False)
    assert wait_until(lambda: not _listens(fourth.dicom_port), 60)
    told = _demo(fourth)
    assert told.returncode == 0, told.stderr
    assert f"C-STORE to DRAW_SCP at 127.0.0.1:{fourth.tls_port}" in told.stdout
    assert page.run("page", fourth).returncode == 0
    proxy = page.etc / "haproxy.cfg"
    port = free_port()
    proxy.write_text(
        page.text("haproxy", fourth.home, fourth).replace(":443", f"127.0.0.1:{port}") + "\n"
    )
    running = subprocess.Popen([service_finder.program("haproxy"), "-db", "-f", str(proxy)])
    try:
        trusted = ssl.create_default_context(cafile=str(page.etc / "ca.pem"))
        assert wait_until(lambda: _listens(port), 60)
        answer = httpx.get(f"https://localhost:{port}/livez", verify=trusted)
    finally:
        running.kill()
        running.wait()
    assert answer.status_code == httpx.codes.OK
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_a_second_signal_forces(fourth):
    fourth.signal(signal.SIGTERM)
    assert wait_until(lambda: "stopping" in fourth.said, 60)
    began = time.monotonic()
    fourth.signal(signal.SIGTERM)
    fourth.wait(5)
    assert time.monotonic() - began < 5
    assert wait_until(lambda: fourth.processes() == [], 60)


# --- starts of their own ------------------------------------------------------------------


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
    assert "DRAW_SCP_AE_TITLE must" in launched.said
    assert "Traceback" not in launched.said


def test_a_signal_during_the_start_stops_it(launch):
    launched = launch()
    assert wait_until(lambda: "PostgreSQL" in launched.said, 60)
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
