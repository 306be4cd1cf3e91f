"""Data sets of many PDUs: every byte once and in order, whatever arrives together."""

import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from draw_shared.dicom.network.message_reader import MessageReader
from draw_shared.dicom.network.pdu import (
    COMMAND,
    LAST,
    PDATA_PREFIX,
    PduType,
    ProtocolViolation,
    fragments,
)
from draw_shared.dicom.network.wire import TOLERANCE_BYTES, Wire

MAX_PDU = 4096
CONTEXT = 5


@contextmanager
def reading(raw):
    """Yield a reader to whom `raw` is sent, as fast as it takes it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours)
        wire.limit_data(MAX_PDU)
        sender = threading.Thread(target=send, args=(theirs, raw), daemon=True)
        sender.start()
        yield MessageReader(wire, dimse_seconds=5.0, acse_seconds=5.0)
        wire.interrupt()
        sender.join()


def send(connection, raw):
    # Whoever has seen enough does not read the rest.
    with suppress(OSError):
        connection.sendall(raw)


def pdu(fragment, control=0, context_id=CONTEXT):
    length = len(fragment)
    return PDATA_PREFIX.pack(PduType.P_DATA, length + 6, length + 2, context_id, control) + fragment


def two_items(first, second):
    """One PDU with two fragments of the middle of a data set."""
    items = b"".join(
        (len(part) + 2).to_bytes(4, "big") + bytes((CONTEXT, 0)) + part for part in (first, second)
    )
    return bytes((PduType.P_DATA, 0)) + len(items).to_bytes(4, "big") + items


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, MAX_PDU - 6), min_size=1, max_size=120), st.randoms())
def test_every_byte_comes_once_and_in_order(lengths, random):
    parts = [random.randbytes(length) for length in lengths]
    made = []
    for part in parts[:-1]:
        half = len(part) // 2
        made.append(two_items(part[:half], part[half:]) if half and half % 3 == 0 else pdu(part))
    last = pdu(parts[-1], LAST)
    # What follows belongs to the next message, and has come already.
    with reading(b"".join(made) + last + pdu(b"next", COMMAND | LAST)) as reader:
        taken = bytearray()
        reader.data_set(CONTEXT, taken.extend, 10**9)
        assert taken == b"".join(parts)
        assert reader.waiting()


def test_a_large_data_set_of_a_real_message_is_what_was_sent():
    data = bytes(range(256)) * 4096
    raw = b"".join(fragments(data, CONTEXT, 0, MAX_PDU))
    with reading(raw) as reader:
        taken = bytearray()
        reader.data_set(CONTEXT, taken.extend, len(data))
        assert taken == data


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (pdu(b"x" * 100, context_id=CONTEXT + 2), "expected a data set"),
        (pdu(b"x" * 100, COMMAND), "expected a data set"),
        (pdu(b"x" * (MAX_PDU + TOLERANCE_BYTES)), "longer than allowed"),
        (pdu(b""), None),
        (bytes((PduType.P_DATA, 0)) + (0).to_bytes(4, "big"), "holds nothing"),
    ],
)
def test_what_does_not_belong_in_the_middle_is_seen(odd, words):
    middle = [pdu(b"m" * 1000)] * 20
    with reading(b"".join([*middle, odd, *middle, pdu(b"end", LAST)])) as reader:
        taken = bytearray()
        if words is None:
            reader.data_set(CONTEXT, taken.extend, 10**9)
            assert taken == b"m" * 40_000 + b"end"
        else:
            with pytest.raises(ProtocolViolation, match=words):
                reader.data_set(CONTEXT, taken.extend, 10**9)
            assert bytes(taken) == b"m" * 20_000


def test_a_data_set_beyond_the_limit_is_not_taken():
    limit = 50_000
    with reading(b"".join([pdu(b"m" * 1000)] * 500)) as reader:
        taken = bytearray()
        with pytest.raises(ProtocolViolation, match="too long"):
            reader.data_set(CONTEXT, taken.extend, limit)
        assert len(taken) <= limit
