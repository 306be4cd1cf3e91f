"""Order of start and stop, and what signals do to a real process."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from draw_shared.runtime.lifecycle import Lifecycle, State


class Recorded:
    def __init__(self, name, diary, *, fails=False):
        self.name = name
        self._diary = diary
        self._fails = fails

    def start(self):
        if self._fails:
            raise OSError("port taken")
        self._diary.append(f"start {self.name}")

    def stop(self, deadline_seconds):
        assert deadline_seconds > 0
        self._diary.append(f"stop {self.name}")


class Terminated:
    """Has the process asked to stop as soon as all before it has started."""

    name = "terminated"

    def start(self):
        os.kill(os.getpid(), signal.SIGTERM)

    def stop(self, deadline_seconds):
        pass


@pytest.fixture(autouse=True)
def signals_as_before():
    held = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in held.items():
        signal.signal(number, handler)
    signal.set_wakeup_fd(-1)


def test_components_start_in_order_and_stop_in_reverse():
    diary: list[str] = []
    life = Lifecycle(
        [Recorded("database", diary), Recorded("edge", diary), Terminated()], grace_seconds=5
    )
    assert life.run() == 0
    assert diary == ["start database", "start edge", "stop edge", "stop database"]
    assert life.state is State.STOPPED


def test_a_failed_start_stops_what_had_started():
    diary: list[str] = []
    life = Lifecycle(
        [Recorded("database", diary), Recorded("edge", diary, fails=True)], grace_seconds=5
    )
    assert life.run() == 1
    assert diary == ["start database", "stop database"]


# The main thread hears no signal while it drains, as when one comes just before a wait.
PROGRAM = """
import signal, sys, threading, time
from draw_shared.runtime.lifecycle import Lifecycle
class Slow:
    name = "slow"
    def start(self): pass
    def stop(self, deadline_seconds):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        threading.Timer(0.2, self.tell).start()
        time.sleep(float(sys.argv[1]))
    def tell(self):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        print("deaf", flush=True)
        time.sleep(float(sys.argv[1]))
life = Lifecycle([Slow()], grace_seconds=30)
print("up", flush=True)
sys.exit(life.run())
"""


def started(seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = iter(process.stdout.readline, "")
    wait_for(lines, "service.ready")
    return process, lines


def wait_for(lines, words):
    for line in lines:
        if words in line:
            return
    raise AssertionError(f"{words} did not appear")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains(number):
    process, lines = started(0.5)
    with process:
        os.kill(process.pid, number)
        wait_for(lines, "deaf")
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_second_signal_forces():
    process, lines = started(60)
    with process:
        process.send_signal(signal.SIGTERM)
        wait_for(lines, "deaf")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 1
