"""The receiver alone as a child process, without database and, if wished, without broker."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

from bench.process_cost import descendants
from draw_shared.contracts.server_config import EVERYTHING, ServerConfig
from draw_shared.storage.layout import LATEST_DELETION, PLACE_KEY
from support.datasets import build
from support.kept_config import keep_config
from support.raw_stores import raw_association
from support.waiting import wait_until
from tools.processes import command_line, free_port

NOWHERE = "127.0.0.1:1"


class ReceiverProcess:
    """`python -m draw_scp`, with everything switched on unless it is configured otherwise."""

    def __init__(self, folder, root=None, broker_url=f"amqp://guest:guest@{NOWHERE}/x", **more):
        self.root = root or folder / "storage"
        self.root.mkdir(exist_ok=True)
        self.log = folder / "scp.log"
        self.port, self.http_port = free_port(), free_port()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRAW_")}
        self._environment = {
            **inherited,
            "DRAW_STORAGE_ROOT": str(self.root),
            "DRAW_DATABASE_URL": f"postgresql://nobody@{NOWHERE}/none",
            "DRAW_BROKER_URL": broker_url,
            "DRAW_SCP_HOST": "127.0.0.1",
            "DRAW_SCP_PORT": str(self.port),
            "DRAW_SCP_HTTP_PORT": str(self.http_port),
            "DRAW_SCP_LOOPBACK_READS": "true",
            "DRAW_REPLICA": "one",
            **more,
        }
        self._process = None
        self._configured = False

    def configure(self, config=EVERYTHING, *, version=1, listed=(), **sections):
        """Have it work by a configuration, these fields of the document and this list."""
        document = config.model_dump(mode="json")
        for name, fields in sections.items():
            document[name].update(fields)
        keep_config(self.root, ServerConfig.model_validate(document), version, listed)
        self._configured = True

    @property
    def pid(self):
        return self._process.pid

    @property
    def announcer_pid(self):
        """Process id of the process that announces for it."""
        [announcer] = self._children("draw_scp.announcing")
        return announcer

    @property
    def receiving_pids(self):
        """Process ids of the processes that receive for it."""
        return self._children("draw_scp.receiving")

    def start_second(self):
        """Have the second receiving process started, as two senders at once do; return its id."""
        made = build()
        with raw_association(self.port, made), raw_association(self.port, made):
            assert wait_until(lambda: self.metric("draw_scp_receiving_processes") == 2, 60)
        assert wait_until(lambda: self.metric("draw_scp_active_associations") == 0, 60)
        [pid] = self.receiving_pids
        return pid

    def _children(self, module):
        return [pid for pid in descendants(self.pid) if module in command_line(pid)]

    @property
    def exit_code(self):
        return self._process.poll()

    def ask_to_stop(self):
        self._process.terminate()

    def wait(self, seconds):
        return self._process.wait(seconds)

    def start(self, seconds=45):
        if not self._configured:
            self.configure()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "draw_scp"], env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + seconds
        while not self.ready():
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def ready(self):
        with suppress(OSError):
            url = f"http://127.0.0.1:{self.http_port}/readyz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status == 200
        return False

    def metric(self, name):
        """Return a gauge or counter without labels."""
        url = f"http://127.0.0.1:{self.http_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name) and line[len(name)] in " {":
                    return float(line.split()[-1])
        raise LookupError(name)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self, seconds=15):
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(seconds)

    def lines(self, event):
        """Return the log lines with this event name."""
        parsed = (json.loads(line) for line in self.log.read_text().splitlines())
        return [line for line in parsed if line.get("event") == event]

    def files(self):
        """Return everything on the volume but what a receiver keeps for itself."""
        own = (
            *(".lock", ".jsonl", ".open", ".reserve", ".ahead", ".room", ".json", ".new"),
            *(LATEST_DELETION, PLACE_KEY),
        )
        return [p for p in self.root.rglob("*") if p.is_file() and not p.name.endswith(own)]
