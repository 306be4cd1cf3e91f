"""Finds, signals and outlives processes of this machine, read from /proc."""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.02
LAST_SECONDS: Final = 5.0

PORTS: Final = range(12000, 32000)
BLOCK: Final = 50

_ports: list[int] = []


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now, another one each time.

    It lies below those that the system gives to outgoing connections, or one of these could
    take it before whoever asked has bound it. No other process is given it while we live: each
    claims whole blocks of them.

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
    """Return why we could not listen there now, or None when we could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def claim_port(port: int) -> socket.socket | None:
    """Return what keeps a port ours among launchers until it is closed; None when it is taken.

    Between looking whether a port is free and a child's binding it, another launcher may look
    too.
    """
    return _claim(f"draw-port-{port}")


def _claim(name: str) -> socket.socket | None:
    # The name of an abstract socket is taken atomically and goes with its process.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0{name}")
    except OSError:
        claim.close()
        return None
    return claim


def command_line(pid: int) -> list[str]:
    """Return the words a process was started with; none when it is gone or a zombie."""
    return _words(Path(f"/proc/{pid}/cmdline"))


def environment(pid: int) -> list[str]:
    """Return the NAME=value pairs a process was started with, as far as we may know them."""
    return _words(Path(f"/proc/{pid}/environ"))


def _words(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
    except OSError:
        return []
    return raw.decode("utf-8", "replace").rstrip("\0").split("\0") if raw else []


def started_at(pid: int) -> int | None:
    """Return when a process began, in ticks since boot; None when it is gone or a zombie.

    Together with the process id this names a process for ever: ids are given again.
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
    """Return the ids of the running processes, ourselves left out, that are `wanted`."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and alive(pid) and wanted(pid)]


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
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
        time.sleep(POLL_SECONDS)
    return True


def end(
    pids: Iterable[int], seconds: float, *, first: signal.Signals = signal.SIGTERM
) -> list[int]:
    """Ask processes to end, kill after `seconds` those that do not; return the killed ones."""
    known = {pid: started_at(pid) for pid in pids}

    def running() -> list[int]:
        return [pid for pid, began in known.items() if began and started_at(pid) == began]

    send(running(), first)
    wait_until(lambda: not running(), seconds)
    stubborn = running()
    send(stubborn, signal.SIGKILL)
    wait_until(lambda: not running(), LAST_SECONDS)
    return stubborn


def group_members(group: int) -> list[int]:
    """Return the running processes of a process group."""

    def inside(pid: int) -> bool:
        try:
            return os.getpgid(pid) == group
        except ProcessLookupError:
            return False

    return find(inside)
