"""What a connection says when it is closed under whoever uses it, and how soon it acknowledges.

Both sides of an association read and write by it, the accepting and the requesting one.
"""

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from draw_shared.dicom.network.pdu import HEADER, RELEASE_RP, PduType
from draw_shared.dicom.network.wire import PeerClosed, Wire

EXCHANGES = 50
DELAYED_ACK_SECONDS = 0.04
"""Linux's least, from a socket that answers what it gets."""


def test_a_connection_that_another_thread_has_closed_is_a_closed_one():
    """As when the receiver aborts what is left while an association ends by itself."""
    ours, theirs = socket.socketpair()
    with theirs:
        wire = Wire(ours)
        wire.close()
        with pytest.raises(PeerClosed):
            wire.send([b"A-ABORT"], 2.0)


def test_a_connection_that_broke_is_described_in_words():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    # Closing without waiting resets the connection (RFC 9293 3.5.2).
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    wire = Wire(ours)
    with pytest.raises(PeerClosed, match="the peer has reset the connection"):
        wire.read_pdu(5.0)
    with pytest.raises(PeerClosed, match="the peer has closed the connection"):
        wire.send([RELEASE_RP], 5.0)
    wire.close()


def test_a_peer_that_waits_for_acknowledgements_is_not_kept_waiting():
    """Nagle's algorithm holds the second of two small writes until the first is acknowledged."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()

    def ask():
        for _ in range(EXCHANGES):
            theirs.sendall(HEADER.pack(PduType.P_DATA, 4))
            theirs.sendall(b"\0\0\0\0")
            theirs.recv(len(RELEASE_RP))

    began = time.monotonic()
    with theirs, ThreadPoolExecutor(1) as peer:
        asking = peer.submit(ask)
        wire = Wire(ours)
        for _ in range(EXCHANGES):
            wire.read_pdu(5.0)
            wire.send([RELEASE_RP], 5.0)
        asking.result(5.0)
        wire.close()
    assert time.monotonic() - began < EXCHANGES * DELAYED_ACK_SECONDS / 2
