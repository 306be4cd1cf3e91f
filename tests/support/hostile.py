"""Peers that lie, crawl or keep silent, and measures of what they do to the receiver."""

import contextlib
import hashlib
import socket
import struct
import threading
import time
from pathlib import Path

from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network import message
from draw_shared.dicom.network.associate import AssociateRequest, ProposedContext, UserInformation
from draw_shared.dicom.network.message import DATA_SET, CommandElement, Operation
from draw_shared.dicom.network.pdu import COMMAND, HEADER, PDATA_PREFIX, PduType, fragments
from draw_shared.dicom.network.requestor import Remote, open_association
from support.datasets import build
from support.receptions import encoded

ECHO = (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),)
CT = "1.2.840.10008.5.1.4.1.1.2"
MAX_PDU = 16384
SECONDS = 30


def connected(port, source=""):
    """Return a connection, from a loopback address of its own if wished."""
    here = (source, 0) if source else None
    return socket.create_connection(("127.0.0.1", port), SECONDS, here)


def exactly(connection, size):
    raw = b""
    while len(raw) < size:
        part = connection.recv(size - len(raw))
        if not part:
            raise ConnectionError("closed")
        raw += part
    return raw


def read_pdu(connection):
    kind, length = HEADER.unpack(exactly(connection, HEADER.size))
    return kind, exactly(connection, length)


def request(calling="EVIL"):
    """Return an A-ASSOCIATE-RQ for verification (1) and CT (3)."""
    contexts = (*ECHO, ProposedContext(3, CT, (EXPLICIT_LITTLE,)))
    user = UserInformation(MAX_PDU, "1.2.3")
    return AssociateRequest(calling, "DRAW_SCP", contexts, user).encode()


def requested(port, calling="EVIL", source=""):
    """Return a connection that has asked for an association."""
    connection = connected(port, source)
    connection.sendall(request(calling))
    return connection


def associated(port, calling="EVIL", source=""):
    """Return a connection with an association."""
    connection = requested(port, calling, source)
    kind, _ = read_pdu(connection)
    assert kind == PduType.ASSOCIATE_AC, kind
    return connection


def claims_4_gib(port):
    """Claim a PDU of 4 GiB, and go on until cut off."""
    connection = associated(port)
    with connection, contextlib.suppress(OSError):
        connection.sendall(struct.pack(">BxI", PduType.P_DATA, 0xFFFFFFFF))
        while True:
            connection.sendall(bytes(65536))


def endless_command(port):
    """Send fragments of one command set until cut off."""
    connection = associated(port)
    piece = PDATA_PREFIX.pack(PduType.P_DATA, 4096 + 6, 4096 + 2, 1, COMMAND) + bytes(4096)
    with connection, contextlib.suppress(OSError):
        while True:
            connection.sendall(piece)


def store_large(port, size_bytes):
    """Store one object of about this size and return (status, SOP instance, SHA-256)."""
    made = build()
    made.PixelData = b""
    head = encoded(made)
    # Pixel data, the last element of the data set, becomes that long.
    length = size_bytes // 2 * 2
    head = head[:-4] + struct.pack("<I", length)
    command = message.encode(
        {
            CommandElement.AFFECTED_SOP_CLASS: CT,
            CommandElement.COMMAND: Operation.C_STORE,
            CommandElement.MESSAGE_ID: 1,
            CommandElement.PRIORITY: 0,
            CommandElement.DATA_SET_TYPE: DATA_SET,
            CommandElement.AFFECTED_SOP_INSTANCE: str(made.SOPInstanceUID),
        }
    )
    block = bytes(range(256)) * 4096
    digest = hashlib.sha256(head)
    with associated(port, "LARGE") as connection:
        connection.settimeout(300)
        connection.sendall(b"".join(fragments(command, 3, COMMAND, MAX_PDU)))
        connection.sendall(b"".join(fragments(head, 3, 0, MAX_PDU, more=True)))
        for at in range(0, length, len(block)):
            part = memoryview(block)[: min(len(block), length - at)]
            more = at + len(part) < length
            digest.update(part)
            connection.sendall(b"".join(fragments(part, 3, 0, MAX_PDU, more=more)))
        _, body = read_pdu(connection)
    return (
        message.decode(body[6:]).number(CommandElement.STATUS),
        made.SOPInstanceUID,
        digest.hexdigest(),
    )


def echo_seconds(port, tls=None):
    """Return how long an association with one C-ECHO takes."""
    began = time.monotonic()
    remote = Remote("127.0.0.1", port, "DRAW_SCP", "HONEST", 10.0, tls=tls)
    with open_association(remote, ECHO) as made:
        assert made.echo() == 0
    return time.monotonic() - began


def p95(values):
    return sorted(values)[int(len(values) * 0.95)]


class Memory:
    """Follows the resident memory of some processes together while a block runs."""

    def __init__(self, pids):
        self._statuses = [Path(f"/proc/{pid}/status") for pid in pids]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self.before = self.most = self._now()

    def _now(self):
        lines = [line for status in self._statuses for line in status.read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def _follow(self):
        while not self._stop.wait(0.02):
            self.most = max(self.most, self._now())

    @property
    def growth_mib(self):
        return self.most - self.before

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


class Trickle:
    """Sends one byte a second over each of many connections."""

    def __init__(self, connections, raw):
        self._connections = connections
        self._raw = raw
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        for byte in self._raw:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.send(bytes((byte,)))
            if self._stop.wait(1):
                return

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def seconds_until_all_closed(connections, limit):
    """Return how long it takes until the receiver has closed all of these."""
    began = time.monotonic()
    for connection in connections:
        connection.settimeout(max(0.05, limit - (time.monotonic() - began)))
        with contextlib.suppress(ConnectionError):
            while connection.recv(4096):
                pass
    return time.monotonic() - began
