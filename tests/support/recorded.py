"""What real clients send, recorded once and kept as text: seeds for mutated input.

    PYTHONPATH=tests:. python -m support.recorded FOLDER

records every client anew into `tests/property/sessions`; FOLDER is a scratch folder. Each
file holds the bytes of one association, client to server, in hexadecimal.
"""

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

from support import foreign_clients as clients
from support.datasets import build, write
from support.engine import listening
from support.service_finder import ROOT, program

SESSIONS = ROOT / "tests" / "property" / "sessions"
WIDTH = 96
UIDS = {
    "SOPInstanceUID": "1.2.826.0.1.3680043.10.1.1",
    "StudyInstanceUID": "1.2.826.0.1.3680043.10.1.2",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.10.1.3",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.10.1.4",
}


def sessions() -> dict[str, bytes]:
    """Return the recorded sessions by name."""
    found = {p.stem: bytes.fromhex(p.read_text("ascii")) for p in sorted(SESSIONS.glob("*.hex"))}
    assert found, "no session is recorded"
    return found


def small_object(folder: Path) -> Path:
    """Write the object that the recorded clients store: short, with fixed identifiers."""
    made = build("CT", size_bytes=0, **UIDS)
    made.PixelData = bytes(32)
    return write(made, folder / "small.dcm")


class Tap:
    """A port that hands one connection on to another port and keeps what both sides say."""

    def __init__(self, behind: int):
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard = b""
        self.said = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._behind))
        back = threading.Thread(target=self._pass_on, args=(server, client))
        back.start()
        while part := client.recv(65536):
            self.heard += part
            server.sendall(part)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        back.join()
        client.close()
        server.close()

    def _pass_on(self, server, client):
        with contextlib.suppress(OSError):
            while part := server.recv(65536):
                self.said += part
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)

    def end(self) -> bytes:
        """Return what the client said, once the connection is over."""
        self._thread.join(10)
        self._listener.close()
        return self.heard


def record(folder: Path) -> None:
    """Record every client and write the files."""
    file = small_object(folder)
    peer = clients.dcmjs_peer(folder / "dcmjs")
    findscu = [program("findscu", "dcmtk"), "-S", "-k", "QueryRetrieveLevel=STUDY"]
    asked = [*findscu, "-k", "PatientName=A*", "-k", "StudyInstanceUID=", "127.0.0.1"]
    actions = {
        "dcmtk-echo": clients.dcmtk_echo,
        "dcmtk-store": lambda port: clients.dcmtk_store(port, [file]),
        "dcmtk-find": lambda port: subprocess.run([*asked, str(port)], check=True),
        "pynetdicom-echo": clients.pynetdicom_echo,
        "pynetdicom-store": lambda port: clients.pynetdicom_store(port, [file]),
        "gdcm-echo": clients.gdcm_echo,
        "gdcm-store": lambda port: clients.gdcm_store(port, [file]),
        "dcmjs": lambda port: clients.dcmjs_send(peer, port, [file]),
    }
    SESSIONS.mkdir(parents=True, exist_ok=True)
    with listening() as (acceptor, _):
        for name, action in actions.items():
            tap = Tap(acceptor.port)
            action(tap.port)
            text = tap.end().hex()
            lines = [text[at : at + WIDTH] for at in range(0, len(text), WIDTH)]
            (SESSIONS / f"{name}.hex").write_text("\n".join(lines) + "\n", "ascii")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
