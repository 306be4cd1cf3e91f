"""Several replicas of the services of one suite, and HAProxy in front of the receivers."""

import re
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

from support.service_finder import ROOT, program
from support.suite import Suite, listens
from support.waiting import wait_until
from tools.processes import free_port
from tools.service_process import SERVICES, ServiceProcess

CONFIG = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
TRUSTED = '["127.0.0.1/32"]'
"""HAProxy's own address; peers in these tests come from other addresses of the loopback."""


def add_replica(suite: Suite, service: str, number: int, **environment: str) -> ServiceProcess:
    """Give the suite one more process of a service, called `<service>-<number>`."""
    [kind] = [one for one in SERVICES if one.name == service]
    name = f"{service}-{number}"
    own = {"DRAW_REPLICA": name, kind.http_variable: str(free_port())}
    if service == "scp":
        own |= {"DRAW_SCP_PORT": str(free_port()), "DRAW_SCP_TRUSTED_PROXIES": TRUSTED}
    process = ServiceProcess(
        kind,
        suite.environment | suite.addresses | own | environment,
        suite.folder / "logs" / f"{name}.log",
    )
    process.name = name
    suite.services[name] = process
    return process


@contextmanager
def haproxy(folder: Path, receivers: list[ServiceProcess]):
    """Yield the port of HAProxy as Compose has it, with these receivers behind it."""
    port = free_port()
    behind = [(int(one.environment["DRAW_SCP_PORT"]), one.http_port) for one in receivers]
    with running_haproxy(folder, configuration(port, behind), port):
        yield port


def configuration(port: int, plain=(), tls_port: int | None = None, tls=()) -> str:
    """Return HAProxy's configuration of Compose with receivers here, as (port, HTTP port)."""
    text = CONFIG.read_text(encoding="utf-8")
    for name, receivers in (("scp", plain), ("scp-tls", tls)):
        servers = "\n".join(
            f"    server {name}-{number} 127.0.0.1:{behind} check port {http_port}"
            for number, (behind, http_port) in enumerate(receivers)
        )
        template = re.compile(rf"^    server-template {name}- .*$", re.MULTILINE)
        text, found = template.subn(servers, text)
        assert found == 1
    text = text.replace("check port 9101 inter 2s", "inter 200ms")
    text = text.replace("bind :11112", f"bind 127.0.0.1:{port}")
    text = text.replace("bind :2762", f"bind 127.0.0.1:{tls_port or free_port()}")
    return text.replace("bind :8404", f"bind 127.0.0.1:{free_port()}")


@contextmanager
def running_haproxy(folder: Path, configuration: str, port: int):
    """Run HAProxy with this configuration, which has it listen on `port`."""
    path = folder / "haproxy.cfg"
    path.write_text(configuration, encoding="utf-8")
    with (folder / "haproxy.log").open("w") as log:
        process = subprocess.Popen([program("haproxy"), "-f", path], stdout=log, stderr=log)
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, 60)
        assert process.poll() is None, (folder / "haproxy.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


def closed_without_answer(port: int, source: str) -> bool:
    """Return whether a connection from this address is closed before anything was said."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as connection:
            return connection.recv(1) == b""
    except OSError:
        return True
