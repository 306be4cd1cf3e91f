"""What the launcher decides without starting anything; the rest is in e2e."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from support.service_finder import ROOT
from tools import launch
from tools.first_configuration import first_configuration
from tools.launch import Watched
from tools.processes import free_port

LOWEST_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(launch.time, "monotonic", clock)
    return clock


class Service:
    def __init__(self):
        self.up = True
        self.starts = 0

    def running(self):
        return self.up

    def start(self):
        self.starts += 1


def _watched(service, clock):
    return Watched("scp", service.running, service.start, began=clock.now)


def test_what_runs_is_left_alone(clock):
    service = Service()
    _watched(service, clock).look()
    assert service.starts == 0


def test_what_crashes_starts_again_after_pauses_that_grow_to_30_seconds(clock):
    service = Service()
    service.up = False
    watched = _watched(service, clock)
    pauses = []
    for _ in range(7):
        watched.look()
        pauses.append(watched.again_at - clock.now)
        clock.now = watched.again_at - 0.01
        starts = service.starts
        watched.look()
        assert service.starts == starts
        clock.now += 0.01
        watched.look()
        assert service.starts == starts + 1
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_a_minute_of_calm_forgets_earlier_crashes(clock):
    service = Service()
    watched = _watched(service, clock)
    watched.crashes = 4
    clock.now += 61
    watched.look()
    assert watched.crashes == 0


def test_a_new_suite_has_everything_on_where_the_environment_says():
    config = first_configuration({"DRAW_SCP_PORT": "4104", "DRAW_SCP_AE_TITLE": "ARCHIVE"})
    assert (config.network.port, config.network.ae_title) == (4104, "ARCHIVE")
    assert config.services.c_find
    assert config.services.c_move
    assert config.services.c_get
    assert config.sop_classes.all_storage_classes
    assert config.transfer_syntaxes.all_transfer_syntaxes


@pytest.mark.parametrize("given", [{"DRAW_SCP_PORT": "x"}, {"DRAW_SCP_AE_TITLE": "A" * 17}])
def test_a_wrong_value_is_refused(given):
    with pytest.raises(ValidationError):
        first_configuration(given)


@pytest.fixture
def sentence(tmp_path, capsys):
    """Return what a launcher says that cannot run."""

    def said(**given):
        assert launch.main({"DRAW_HOME": str(tmp_path / "home"), **given}) == 1
        (line, *rest) = capsys.readouterr().out.splitlines()
        assert rest in ([], ["stopped"])
        return line

    handlers = {number: signal.getsignal(number) for number in HANDLED}
    yield said
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "variable",
    ["DRAW_SCP_PORT", "DRAW_API_PORT", "DRAW_DICOMWEB_PORT", "DRAW_INDEXER_HTTP_PORT"],
)
@pytest.mark.parametrize("port", ["99999", "0", "http", "-1", "\uff11"])
def test_what_is_no_port_is_named_with_its_variable(sentence, variable, port):
    said = sentence(**{variable: port})
    assert said.startswith("cannot run: ")
    assert variable in said


@pytest.mark.needs("setpriv")
@pytest.mark.skipif(LOWEST_PORT.read_text().strip() == "0", reason="any port is anybody's here")
def test_a_port_that_only_root_may_open_is_not_in_use(tmp_path):
    without = ["setpriv", "--bounding-set=-net_bind_service"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*without, sys.executable, "-m", "tools.launch"],
        cwd=ROOT,
        env=os.environ | {"DRAW_HOME": str(tmp_path), "DRAW_SCP_PORT": "104"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    said = done.stdout.splitlines()[0]
    assert "port 104" in said
    assert "root" in said
    assert "in use" not in said


def test_an_address_of_another_machine_is_named(sentence):
    said = sentence(DRAW_SCP_HOST="192.0.2.1", DRAW_SCP_PORT=str(free_port()))
    assert "192.0.2.1" in said
    assert "in use" not in said


def test_a_home_that_may_not_be_written_is_named(sentence):
    said = sentence(DRAW_HOME="/proc/home")
    assert "/proc/home" in said
    assert "DRAW_HOME" in said


def test_a_storage_that_may_not_be_written_is_named(sentence, tmp_path):
    (tmp_path / "file").touch()
    said = sentence(DRAW_STORAGE_ROOT=str(tmp_path / "file" / "storage"))
    assert str(tmp_path / "file") in said
