"""C-GET by the worker against nodes that send what they should not.

What honest nodes send is in tests/e2e/test_retrieves.py.
"""

import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from draw_qr_worker.adapters.getting import propose_storage
from draw_shared.dicom.encoding.uids import ALL_STORAGE
from draw_shared.dicom.network import message, message_reader
from draw_shared.dicom.network.associate import MAX_CONTEXTS
from draw_shared.dicom.network.message import RESPONSE, CommandElement, Operation
from draw_shared.dicom.network.pdu import LAST, fragments
from draw_shared.dicom.network.peer_failures import PeerAborted, PeerBrokeProtocol, PeerTimeout
from draw_shared.storage.incoming import NoSpace
from support import asking
from support.asking import CT, STORAGE_CONTEXT
from support.hostile import read_pdu
from support.lying_nodes import (
    acceptance,
    asked,
    command,
    lying,
    pdata,
    store_request,
    wait_for_end,
)

MAX_BYTES = 100_000


class MemoryReceiver:
    """Keeps objects; what it refuses, and when, is set."""

    def __init__(self):
        self.kept = {}
        self.abandoned = []
        self.refused_at = {}

    def begin(self, _info, request):
        self._fail(request.sop_instance_uid, "begin")
        return MemoryReception(self, request.sop_instance_uid)

    def _fail(self, uid, step):
        if self.refused_at.get(uid) == step:
            raise NoSpace("full")


class MemoryReception:
    def __init__(self, receiver, uid):
        self._receiver = receiver
        self._uid = uid
        self._data = bytearray()

    def write(self, chunk):
        assert isinstance(chunk, memoryview)
        self._receiver._fail(self._uid, "write")
        self._data += chunk

    def complete(self):
        self._receiver._fail(self._uid, "complete")
        self._receiver.kept[self._uid] = bytes(self._data)
        identity = SimpleNamespace(study_instance_uid="1.2", series_instance_uid="1.2.1")
        return SimpleNamespace(identity=identity, size_bytes=len(self._data))

    def abandon(self):
        self._receiver.abandoned.append(self._uid)


def get(script, receiver):
    """Fetch from a node that runs a script; return the end and what was stored."""
    with lying(script) as port:
        return asking.get(port, receiver=receiver, max_object_bytes=MAX_BYTES)


def fetching(sends):
    """Return a script that answers C-GET with what `sends` does, then with success."""

    def script(connection, request):
        connection.sendall(acceptance(request))
        context_id, operation, message_id = asked(connection)
        sends(connection)
        connection.sendall(
            command(operation | RESPONSE, message_id=message_id, context_id=context_id)
        )
        wait_for_end(connection)

    return script


def store(connection, uid, data):
    """Send one object and return the status of its answer."""
    connection.sendall(store_request(CT, uid, STORAGE_CONTEXT))
    connection.sendall(b"".join(fragments(data, STORAGE_CONTEXT, 0, 16384)))
    _, body = read_pdu(connection)
    found = message.decode(body[6:])
    assert found.number(CommandElement.COMMAND) == Operation.C_STORE | RESPONSE
    assert found.text(CommandElement.AFFECTED_SOP_INSTANCE) == uid
    return found.number(CommandElement.STATUS)


def test_what_is_refused_is_read_to_its_end_and_the_others_are_stored():
    receiver, statuses = MemoryReceiver(), []
    receiver.refused_at = {"1.1": "begin", "1.2": "write", "1.3": "complete"}
    data = bytes(range(250)) * 300

    def sends(connection):
        statuses.extend(store(connection, f"1.{n}", data) for n in range(5))
        statuses.append(store(connection, "1.5", bytes(MAX_BYTES + 1)))

    with capture_logs() as logs:
        end, stored = get(fetching(sends), receiver)
    assert statuses == [0, 0xA700, 0xA700, 0xA700, 0, 0xA700]
    assert receiver.kept == {"1.0": data, "1.4": data}
    assert receiver.abandoned == ["1.2", "1.3", "1.5"]
    assert stored == ["1.0", "1.4"]
    assert end.status == 0
    refused = [line for line in logs if line["event"] == "get.object_refused"]
    assert [(line["sop_instance_uid"], line["status"]) for line in refused] == [
        ("1.1", "0xA700"), ("1.2", "0xA700"), ("1.3", "0xA700"), ("1.5", "0xA700")
    ]  # fmt: skip


def begins(connection):
    connection.sendall(store_request(CT, "1.1", STORAGE_CONTEXT))
    connection.sendall(pdata(bytes(4096), 0, STORAGE_CONTEXT))


def hangs_up(connection):
    begins(connection)
    raise OSError


def crumbles(connection):
    begins(connection)
    while True:
        connection.sendall(pdata(b"", 0, STORAGE_CONTEXT))
        time.sleep(0.02)


def goes_on_in_another_context(connection):
    begins(connection)
    connection.sendall(pdata(bytes(4096), LAST, STORAGE_CONTEXT + 2))


def begins_another(connection):
    begins(connection)
    begins(connection)


@pytest.mark.parametrize(
    ("sends", "failure", "words"),
    [
        (hangs_up, PeerAborted, "closed the connection"),
        (crumbles, PeerTimeout, "makes no progress"),
        (goes_on_in_another_context, PeerBrokeProtocol, "expected a data set"),
        (begins_another, PeerBrokeProtocol, "expected a data set"),
    ],
)
def test_an_object_that_breaks_off_leaves_nothing_behind(sends, failure, words, monkeypatch):
    monkeypatch.setattr(message_reader, "PDU_TIMEOUT_SECONDS", 0.4)
    receiver = MemoryReceiver()
    with pytest.raises(failure, match=words):
        get(fetching(sends), receiver)
    assert receiver.kept == {}
    assert receiver.abandoned == ["1.1"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (store_request(CT, "1.1", 99), "was not accepted"),
        (store_request(CT, "1.1", STORAGE_CONTEXT, data_set=False), "no place in a retrieve"),
        (command(Operation.C_FIND, context_id=1), "no place in a retrieve"),
        (command(Operation.C_MOVE | RESPONSE, context_id=1), "an answer to something else"),
        (command(Operation.C_GET | RESPONSE, message_id=9), "an answer to something else"),
    ],
)
def test_what_has_no_place_in_a_retrieve_ends_it(raw, words):
    receiver = MemoryReceiver()
    with pytest.raises(PeerBrokeProtocol, match=words):
        get(fetching(lambda connection: connection.sendall(raw)), receiver)
    assert receiver.kept == {}


@pytest.mark.parametrize("classes", [0, 1, 9, 60, 127, 150])
def test_with_its_own_context_no_more_are_proposed_than_an_association_has(classes):
    wanted = sorted(ALL_STORAGE)[:classes]
    proposals = propose_storage(wanted)
    assert 0 < len(proposals) < MAX_CONTEXTS
    proposed = {sop_class for sop_class, _ in proposals}
    assert len(proposed & set(wanted)) == min(classes, MAX_CONTEXTS - 1)
