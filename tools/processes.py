"""Finds and signals processes of this machine, through /proc.

`make run` needs it on a machine that has only what the suite itself requires: psutil, which
`bench` uses, is not among it.
"""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

POLL_INTERVAL_SECONDS: Final = 0.02
EXIT_TIMEOUT_SECONDS: Final = 5.0

PORTS: Final = range(12000, 32000)
BLOCK: Final = 50

_ports: list[int] = []


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1, a different one each time.

    The port lies below the range for outgoing connections; otherwise one of those could take it
    before the caller binds it. No other process gets the port while we live, because each process
    claims whole blocks of ports.

    Raises:
        OSError: no port is free.
    """
    while True:
        try:
            port = _ports.pop()
        except IndexError:
            _ports.extend(_block_of_ports())
            continue
        if port_is_free("127.0.0.1", port):
            return port


def _block_of_ports() -> range:
    blocks = range(PORTS.start, PORTS.stop, BLOCK)
    for first in secrets.SystemRandom().sample(blocks, len(blocks)):
        claimed = _claim(f"draw-ports-{first}")
        if claimed is not None:
            # Ours until we end.
            claimed.detach()
            return range(first, first + BLOCK)
    raise OSError("no free TCP port was found")


def port_is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    return why_not_bound(host, port) is None


def why_not_bound(host: str, port: int) -> OSError | None:
    """Return why this process cannot listen there now, or None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def claim_port(port: int) -> socket.socket | None:
    """Return a socket that claims a port among launchers until it is closed; None if taken.

    Without a claim, another launcher may choose the same port before our child binds it.
    """
    return _claim(f"draw-port-{port}")


def _claim(name: str) -> socket.socket | None:
    # The name of an abstract socket is taken atomically and is freed with its process.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0{name}")
    except OSError:
        claim.close()
        return None
    return claim


def command_line(pid: int) -> list[str]:
    """Return the command line of a process; empty if it is gone or a zombie."""
    return _words(Path(f"/proc/{pid}/cmdline"))


def environment(pid: int) -> list[str]:
    """Return the initial environment of a process as NAME=value pairs; empty if unreadable."""
    return _words(Path(f"/proc/{pid}/environ"))


def _words(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
    except OSError:
        return []
    return raw.decode("utf-8", "replace").rstrip("\0").split("\0") if raw else []


def started_at(pid: int) -> int | None:
    """Return the start time of a process, in ticks since boot; None if it is gone or a zombie.

    Only id and start time together identify a process, because ids are reused.
    """
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = raw[raw.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int) -> bool:
    """Return whether a process runs."""
    return started_at(pid) is not None


def find(wanted: Callable[[int], bool]) -> list[int]:
    """Return the ids of the running processes that are `wanted`, without our own."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and alive(pid) and wanted(pid)]


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Return True as soon as `condition` holds, or False after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_SECONDS)
    return True


def end(
    pids: Iterable[int], seconds: float, *, first: signal.Signals = signal.SIGTERM
) -> list[int]:
    """Terminate processes; kill those that still run after `seconds` and return their ids."""
    known = {pid: started_at(pid) for pid in pids}

    def running() -> list[int]:
        return [pid for pid, began in known.items() if began and started_at(pid) == began]

    send(running(), first)
    wait_until(lambda: not running(), seconds)
    stubborn = running()
    send(stubborn, signal.SIGKILL)
    wait_until(lambda: not running(), EXIT_TIMEOUT_SECONDS)
    return stubborn


def group_members(group: int) -> list[int]:
    """Return the running processes of a process group."""

    def inside(pid: int) -> bool:
        try:
            return os.getpgid(pid) == group
        except ProcessLookupError:
            return False

    return find(inside)
