"""DICOMweb beside Orthanc's: metadata, frames and searches over the same CT series.

    python -m bench.dicomweb [--slices 400] [--side 512] [--seconds 5]

Both servers run side by side and take turns with each request. Orthanc needs its plugin
(`orthanc-dicomweb`). The client is Python's own `http.client`, as cheap as they come here; it takes
part of the two processors, so rates are lower bounds.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from pydicom import dcmread

from bench.objects import write_series
from bench.peers import orthanc
from bench.suite import PASSWORD, draw_suite
from tools.processes import free_port, wait_until

PLUGIN: Final = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
ROUNDS: Final = 3
INDEX_SECONDS: Final = 120
FRAME: Final = {"Accept": 'multipart/related; type="application/octet-stream"'}
JSON: Final = {"Accept": "application/dicom+json"}


@dataclass(frozen=True, slots=True)
class WebServer:
    """One DICOMweb server."""

    name: str
    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, connection: http.client.HTTPConnection, path: str, **more: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers of one request."""
        connection.request("GET", f"/dicom-web{path}", headers=self.headers | more)
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}


def _send(ae_title: str, port: int, folder: Path) -> None:
    command = ["storescu", "-aec", ae_title, "+sd", "127.0.0.1", str(port), str(folder)]
    subprocess.run(command, check=True, env={"TCP_NODELAY": "1", "PATH": "/usr/bin:/bin"})


@contextmanager
def _ours(folder: Path, series: Path) -> Iterator[WebServer]:
    api, web = str(free_port()), str(free_port())
    with draw_suite(folder, DRAW_API_PORT=api, DRAW_DICOMWEB_PORT=web) as suite:
        with httpx.Client(base_url=f"http://127.0.0.1:{api}") as page:
            said = {"name": "admin", "password": PASSWORD}
            session = page.post("/api/v1/session", json=said).raise_for_status().json()
            csrf = {"X-CSRF-Token": session["csrf_token"]}
            wanted = {"name": "bench", "role": "viewer"}
            made = page.post("/api/v1/tokens", json=wanted, headers=csrf).raise_for_status()
        _send(suite.ae_title, suite.port, series)
        bearer = {"Authorization": f"Bearer {made.json()['token']}"}
        yield WebServer("DRAW", int(web), bearer)


@contextmanager
def _theirs(folder: Path, series: Path) -> Iterator[WebServer]:
    port = free_port()
    options = {
        "HttpServerEnabled": True,
        "HttpPort": port,
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": False,
        "Plugins": [PLUGIN],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    with orthanc(folder, **options) as server:
        _send(server.ae_title, server.port, series)
        yield WebServer("Orthanc", port)


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _metadata(server: WebServer, path: str) -> dict[str, float]:
    """Return milliseconds of the first answer, of a later one and of one that is known."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    told: list[tuple[int, bytes, dict[str, str]]] = []
    gzip = {"Accept-Encoding": "gzip"}

    def ask(**more: str) -> None:
        told.append(server.ask(connection, f"{path}/metadata", **(JSON | gzip | more)))

    found = {"first": _timed(ask)}
    found["later"] = statistics.median(_timed(ask) for _ in range(ROUNDS))
    if any(status != http.HTTPStatus.OK for status, _, _ in told):
        raise RuntimeError(f"{server.name}: {told[0][:1]}")
    tag = told[-1][2].get("etag")
    if tag:
        found["304"] = statistics.median(
            _timed(lambda: ask(**{"If-None-Match": tag})) for _ in range(ROUNDS)
        )
    return found


def _frames(server: WebServer, paths: Sequence[str], connections: int, seconds: float) -> float:
    """Return frames a second."""
    ends = time.perf_counter() + seconds
    counts = [0] * connections

    def load(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        at = number * 17
        while time.perf_counter() < ends:
            status, body, _ = server.ask(connection, f"{paths[at % len(paths)]}/frames/1", **FRAME)
            if status != http.HTTPStatus.OK or len(body) < 1000:
                raise RuntimeError(f"{server.name}: {status}")
            counts[number] += 1
            at += 1

    threads = [threading.Thread(target=load, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def main() -> int:
    """Print the figures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        series = write_series(Path(home) / "series", objects=given.slices, side=given.side)
        objects = [dcmread(file, stop_before_pixels=True) for file in sorted(series.iterdir())]
        path = f"/studies/{objects[0].StudyInstanceUID}/series/{objects[0].SeriesInstanceUID}"
        paths = [f"{path}/instances/{one.SOPInstanceUID}" for one in objects]
        servers = [
            stack.enter_context(_ours(Path(home) / "draw", series)),
            stack.enter_context(_theirs(Path(home) / "orthanc", series)),
        ]
        for server in servers:
            wait_until(lambda s=server: _held(s, path) == given.slices, INDEX_SECONDS)  # type: ignore[misc]
        print(f"{given.slices} slices of {given.side}x{given.side}")
        for server in servers:
            found = ", ".join(f"{k} {v:.1f} ms" for k, v in _metadata(server, path).items())
            print(f"  metadata of the series, {server.name}: {found}")
        for connections in (1, 6):
            for server in servers:
                rates = [_frames(server, paths, connections, given.seconds) for _ in range(ROUNDS)]
                print(
                    f"  frames, {connections} connections, {server.name}:"
                    f" {statistics.median(rates):.0f} a second"
                )
    return 0


def _held(server: WebServer, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    status, body, _ = server.ask(connection, f"{path}/instances?limit=5000", **JSON)
    return len(json.loads(body)) if status == http.HTTPStatus.OK and body else 0


if __name__ == "__main__":
    sys.exit(main())
