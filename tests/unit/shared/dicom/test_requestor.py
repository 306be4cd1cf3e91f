"""Our requesting side against pynetdicom and against our own acceptor."""

import socket
import threading

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, evt

from draw_shared.contracts.server_config import EVERYTHING, NetworkConfig, SecurityConfig
from draw_shared.dicom import budgets
from draw_shared.dicom.associate import ProposedContext
from draw_shared.dicom.requestor import (
    NotAccepted,
    Outgoing,
    Rejected,
    RejectedNow,
    Remote,
    Unreachable,
    contexts_for,
    open_association,
)
from draw_shared.dicom.service import Outcome, StoredFile
from draw_shared.dicom.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.wire import PeerClosed
from support.engine import RecordingProvider, listening, wait_until

CT = get_testdata_file("CT_small.dcm")
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ECHO = (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),)


def remote(port, **options):
    return Remote("127.0.0.1", port, "DRAW_SCP", "SENDER", 10.0, **options)


def stored_file():
    raw = open(CT, "rb").read()  # noqa: SIM115, PTH123 - a small test file
    offset = 144 + int.from_bytes(raw[140:144], "little")
    uid = str(pydicom.dcmread(CT).SOPInstanceUID)
    return StoredFile(CT, offset, CT_CLASS, uid), raw[offset:], uid


def test_echo():
    with listening() as (acceptor, provider):
        with open_association(remote(acceptor.port), ECHO) as made:
            assert made.echo() == 0
        assert wait_until(lambda: provider.ended)
        assert provider.ended[0][0] is Outcome.RELEASED


def test_many_objects_ahead_of_their_answers_arrive_as_stored():
    file, raw, uid = stored_file()
    objects = [Outgoing(file, CT_CLASS, uid, EXPLICIT_LITTLE) for _ in range(50)]
    with listening() as (acceptor, provider):
        proposed = contexts_for([(CT_CLASS, EXPLICIT_LITTLE)])
        with open_association(remote(acceptor.port, originator=("MOVER", 9)), proposed) as made:
            assert made.window == 16
            assert [sent.status for sent in made.store(objects)] == [0] * 50
        assert [data for _, data in provider.stored] == [raw] * 50
        request = provider.stored[0][0]
        assert (request.move_originator_ae, request.move_originator_message_id) == ("MOVER", 9)


@pytest.mark.parametrize("size", [0, 1, 16372, 16378, 16379, 256 * 16378, 256 * 16378 + 1])
def test_data_sets_of_every_shape_arrive_whole(size):
    payload = bytes(range(256)) * (size // 256 + 1)
    with listening() as (acceptor, provider):
        proposed = contexts_for([(CT_CLASS, EXPLICIT_LITTLE)])
        with open_association(remote(acceptor.port), proposed) as made:
            sent = list(made.store([Outgoing(payload[:size], CT_CLASS, "1.2.3", EXPLICIT_LITTLE)]))
        assert [one.status for one in sent] == [0]
        assert provider.stored[0][1] == payload[:size]


def test_an_object_without_context_is_reported_and_the_others_go():
    file, _, uid = stored_file()
    objects = [
        Outgoing(file, CT_CLASS, uid, "1.2.840.10008.1.2.4.90"),
        Outgoing(file, CT_CLASS, uid, EXPLICIT_LITTLE),
    ]
    with listening() as (acceptor, _):
        proposed = contexts_for([(CT_CLASS, EXPLICIT_LITTLE)])
        with open_association(remote(acceptor.port), proposed) as made:
            assert [sent.status for sent in made.store(objects)] == [None, 0]
            with pytest.raises(NotAccepted):
                made.echo()


def test_pynetdicom_takes_what_we_send_one_at_a_time():
    file, raw, uid = stored_file()
    received = []

    def on_store(event):
        received.append(event.request.DataSet.getvalue())
        return 0

    ae = AE("ANY")
    ae.add_supported_context(CT_CLASS, EXPLICIT_LITTLE)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    try:
        proposed = contexts_for([(CT_CLASS, EXPLICIT_LITTLE)])
        with open_association(remote(server.server_address[1]), proposed) as made:
            assert made.window == 1
            objects = [Outgoing(file, CT_CLASS, uid, EXPLICIT_LITTLE)] * 3
            assert [sent.status for sent in made.store(objects)] == [0, 0, 0]
    finally:
        server.shutdown()
    assert received == [raw] * 3


def test_rejections_decide_whether_to_try_again(monkeypatch):
    monkeypatch.setattr(budgets, "PLACE_SECONDS", 0.0)
    config = EVERYTHING.model_copy(update={"security": SecurityConfig(validate_calling_ae=True)})
    with listening(RecordingProvider(config)) as (acceptor, _), pytest.raises(Rejected):
        open_association(remote(acceptor.port), ECHO)
    with listening(network=NetworkConfig(max_associations=1)) as (acceptor, _):
        held = open_association(remote(acceptor.port), ECHO)
        with pytest.raises(RejectedNow) as rejected:
            open_association(remote(acceptor.port), ECHO)
        assert rejected.value.congestion
        held.release()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable):
        open_association(remote(port), ECHO)


def test_a_peer_that_hangs_up_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(PeerClosed):
            open_association(remote(server.getsockname()[1]), ECHO)
