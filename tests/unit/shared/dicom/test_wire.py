"""What a connection says when it is closed under whoever uses it."""

import socket

import pytest

from draw_shared.dicom.wire import PeerClosed, Wire


def test_a_connection_that_another_thread_has_closed_is_a_closed_one():
    """As when the receiver aborts what is left while an association ends by itself."""
    ours, theirs = socket.socketpair()
    with theirs:
        wire = Wire(ours)
        wire.close()
        with pytest.raises(PeerClosed):
            wire.send([b"A-ABORT"], 2.0)
