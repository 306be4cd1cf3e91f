"""Runs the launcher as `make run` does, in a home and on ports of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from support.service_finder import ROOT
from support.waiting import wait_until
from tools.processes import command_line, environment, find, free_port

READY_SECONDS = 120
MARKS = ("DRAW_SUITE", "DRAW_PRIVATE_RABBITMQ")


class Launched:
    """One launcher process and what it says."""

    def __init__(self, home: Path, **given: str):
        self.home = home
        self.dicom_port = int(given.get("DRAW_SCP_PORT") or free_port())
        self.tls_port = free_port()
        self.api_port = int(given.get("DRAW_API_PORT") or free_port())
        self.dicomweb_port = int(given.get("DRAW_DICOMWEB_PORT") or free_port())
        self.inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRAW_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tools.launch"],
            cwd=ROOT,
            env=self.inherited
            | given
            | {
                "DRAW_HOME": str(home),
                "DRAW_SCP_PORT": str(self.dicom_port),
                "DRAW_API_PORT": str(self.api_port),
                "DRAW_DICOMWEB_PORT": str(self.dicomweb_port),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    @property
    def said(self) -> str:
        """Everything it has said so far."""
        return "\n".join(self.lines)

    def wait_ready(self) -> str:
        """Return the line that begins with `ready`."""
        wait_until(lambda: self.ready_lines or self.process.poll() is not None, READY_SECONDS)
        assert self.ready_lines, self.said
        return self.ready_lines[0]

    @property
    def ready_lines(self) -> list[str]:
        return [line for line in list(self.lines) if line.startswith("ready")]

    @property
    def password(self) -> str:
        """The first user's password, found where the ready line says."""
        path = re.search(r"password in ([^\s,]+)", self.ready_lines[0]).group(1)
        return Path(path).read_text(encoding="utf-8").strip()

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def processes(self) -> list[int]:
        """Return every process that works in this home, the launcher left out."""
        own = str(self.home.resolve())

        def ours(pid):
            if pid == self.process.pid:
                return False
            named = any(
                pair.startswith(f"{mark}={own}") for pair in environment(pid) for mark in MARKS
            )
            return named or any(word.startswith(own) for word in command_line(pid))

        return find(ours)

    def kill_everything(self) -> None:
        """Kill the launcher and all it started, as kill -9 does, and nothing else."""
        for pid in [self.process.pid, *self.processes()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        wait_until(lambda: not self.processes(), 60)
