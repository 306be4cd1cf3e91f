"""The peers that are measured beside the suite: Orthanc, DCMTK's storescp, stock pynetdicom."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tools.processes import free_port

PATIENCE_SECONDS: Final = 180

STOCK_SCP: Final = """
import sys
from pathlib import Path
from pynetdicom import AE, AllStoragePresentationContexts, evt
folder = Path(sys.argv[2])
def on_store(event):
    (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
    return 0
ae = AE("PEER")
ae.supported_contexts = AllStoragePresentationContexts
ae.maximum_associations = 100
ae.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, on_store)])
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One running receiver."""

    name: str
    ae_title: str
    port: int
    pids: dict[str, int] = field(default_factory=dict)
    """Processes by the name under which their cost is shown."""
    answers_queries: bool = False


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once somebody listens on `port`.

    Raises:
        RuntimeError: the process ended, or nothing listens in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[int]:
    """Run `command` until the block ends and yield its process id once it listens."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for_port(port, process)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def orthanc(folder: Path, **options: object) -> Iterator[Server]:
    """Run Debian's Orthanc as it comes, without its HTTP interface and plugins."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "Name": "Peer",
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpServerEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "Plugins": [],
        **options,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    with running([program, str(folder / "orthanc.json")], port, folder / "log") as pid:
        yield Server("Orthanc", "ORTHANC", port, {"server": pid}, answers_queries=True)


@contextmanager
def storescp(folder: Path) -> Iterator[Server]:
    """Run DCMTK's storescp, one process per association, as it comes."""
    port = free_port()
    (folder / "files").mkdir(parents=True, exist_ok=True)
    command = ["storescp", "--fork", "-od", str(folder / "files"), "+uf", str(port)]
    with running(command, port, folder / "log") as pid:
        yield Server("DCMTK storescp", "STORESCP", port, {"server": pid})


@contextmanager
def stock_pynetdicom(folder: Path) -> Iterator[Server]:
    """Run a C-STORE SCP of pynetdicom's own AE class that writes each data set to a file."""
    port = free_port()
    (folder / "files").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", STOCK_SCP, str(port), str(folder / "files")]
    with running(command, port, folder / "log") as pid:
        yield Server("pynetdicom", "PEER", port, {"server": pid})
