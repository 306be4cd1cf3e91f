"""The whole suite as `make run` starts it, for a benchmark."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from bench.peers import Server
from bench.process_cost import descendants
from tools.processes import command_line, free_port

PATIENCE_SECONDS: Final = 240
SERVICES: Final = {
    "draw_scp": "scp",
    "draw_indexer": "indexer",
    "draw_qr_worker": "qr-worker",
    "draw_dicomweb": "dicomweb",
    "draw_api": "api",
}
PASSWORD: Final = "only for this benchmark"  # noqa: S105 - of a suite that lives for minutes
MAX_ASSOCIATIONS: Final = 64


def _service_pids(launcher: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for pid in descendants(launcher):
        words = command_line(pid)
        for module, name in SERVICES.items():
            if module in words:
                found.setdefault(name, pid)
    return found


def _sources(checkout: Path) -> str:
    return os.pathsep.join(
        str(checkout / part)
        for part in ("", "shared/src", *(f"services/{name}/src" for name in SERVICES.values()))
    )


@contextmanager
def draw_suite(
    folder: Path, checkout: Path | None = None, name: str = "DRAW", **environment: str
) -> Iterator[Server]:
    """Run the suite with a home folder and ports of its own until the block ends.

    Args:
        folder: where its home is made.
        checkout: where another version of the sources lies, which runs on what is installed here.
        name: what the tables call it.
        environment: settings beyond those that keep it apart from others.

    Raises:
        RuntimeError: it ends or does not get ready in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    own = {
        "DRAW_HOME": str(folder / "home"),
        "DRAW_SCP_PORT": str(port),
        "DRAW_API_PORT": str(free_port()),
        "DRAW_DICOMWEB_PORT": str(free_port()),
        "DRAW_ADMIN_PASSWORD": PASSWORD,
        "DRAW_SCP_HTTP_PORT": str(free_port()),
        "DRAW_INDEXER_HTTP_PORT": str(free_port()),
        "DRAW_QR_WORKER_HTTP_PORT": str(free_port()),
        **environment,
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRAW_")}
    if checkout is not None:
        inherited["PYTHONPATH"] = _sources(checkout)
    with (folder / "launch.log").open("wb") as errors:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "tools.launch"],
            env={**inherited, **own},
            cwd=checkout,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        _wait_until_ready(launcher)
        _make_room(f"http://127.0.0.1:{own['DRAW_API_PORT']}")
        yield Server(name, "DRAW_SCP", port, _service_pids(launcher.pid), answers_queries=True)
    finally:
        launcher.terminate()
        launcher.wait(60)


def _make_room(web_url: str) -> None:
    """Allow more associations than the ten that a new suite allows."""
    with httpx.Client(base_url=web_url, timeout=20) as client:
        session = client.post(
            "/api/v1/session", json={"name": "admin", "password": PASSWORD}
        ).raise_for_status()
        client.patch(
            "/api/v1/config",
            json={"network": {"max_associations": MAX_ASSOCIATIONS}},
            headers={"If-Match": "*", "X-CSRF-Token": session.json()["csrf_token"]},
        ).raise_for_status()
    # Every replica looks at the configuration once a second.
    time.sleep(2)


def _wait_until_ready(launcher: subprocess.Popen[str]) -> None:
    if launcher.stdout is None:
        raise RuntimeError("the launcher's output is not read")
    deadline = time.monotonic() + PATIENCE_SECONDS
    for line in launcher.stdout:
        if line.startswith("ready"):
            return
        if time.monotonic() > deadline:
            break
    raise RuntimeError(f"the suite did not get ready, exit code {launcher.poll()}")
