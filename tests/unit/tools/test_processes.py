"""Processes are found, asked to end, and killed when they do not."""

import os
import signal
import socket
import subprocess
import sys
import time
from uuid import uuid4

import pytest

from support.service_finder import ROOT
from tools import processes

SLEEPER = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('deaf', flush=True); time.sleep(60)"
)


@pytest.fixture
def start():
    started = []

    def run(code, **given):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **given
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_free_port_can_be_bound_and_then_is_not_free():
    port = processes.free_port()
    assert processes.port_is_free("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        assert not processes.port_is_free("127.0.0.1", port)


def test_no_two_processes_are_given_the_same_port(start):
    take = (
        "from tools.processes import free_port; print(*(free_port() for _ in range(400)));"
        "import sys; sys.stdout.flush(); import time; time.sleep(60)"
    )
    ours = {processes.free_port() for _ in range(400)}
    theirs = set(map(int, start(take, cwd=ROOT).stdout.readline().split()))
    assert len(ours) == len(theirs) == 400
    assert not ours & theirs


def test_a_process_is_found_by_its_environment(start):
    mark = f"MARK={uuid4()}"
    process = start(SLEEPER, env=os.environ | dict([mark.split("=")]))
    found = processes.wait_until(
        lambda: processes.find(lambda pid: mark in processes.environment(pid)) == [process.pid], 5
    )
    assert found


def test_a_willing_process_is_asked_and_not_killed(start):
    process = start(SLEEPER)
    assert processes.end([process.pid], 5) == []
    assert process.wait(5) == -signal.SIGTERM


def test_a_stubborn_process_is_killed_in_time(start):
    process = start(STUBBORN)
    assert process.stdout.readline() == "deaf\n"
    began = time.monotonic()
    assert processes.end([process.pid], 0.3) == [process.pid]
    assert time.monotonic() - began < 3
    assert process.wait(5) == -signal.SIGKILL


def test_a_zombie_is_not_alive(start):
    process = start("pass")
    assert processes.wait_until(lambda: not processes.alive(process.pid), 60)


def test_ending_what_is_gone_is_no_failure(start):
    process = start("pass")
    process.wait(5)
    assert processes.end([process.pid], 1) == []


def test_waiting_gives_up():
    assert not processes.wait_until(lambda: False, 0.1)
