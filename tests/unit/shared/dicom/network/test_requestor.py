"""Our requesting side against pynetdicom and against our own acceptor."""

import socket
import threading
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, evt

from draw_shared.contracts.server_config import EVERYTHING, SecurityConfig
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.network import budgets
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.contexts import contexts_for
from draw_shared.dicom.network.limits import AcceptorLimits
from draw_shared.dicom.network.peer_failures import (
    NotSupported,
    PeerCongested,
    PeerRejected,
    PeerTurnedAway,
    Unreachable,
)
from draw_shared.dicom.network.renditions import Rendition
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.dicom.network.service import (
    AssociationOutcome,
    CutShort,
    OperationRefused,
    StoredDataSet,
)
from draw_shared.dicom.network.shares import Limits
from draw_shared.dicom.network.store_sender import Outgoing, open_sender
from support.engine import RecordingProvider, listening
from support.waiting import wait_until

CT = get_testdata_file("CT_small.dcm")
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ECHO = (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),)


def remote(port, **options):
    return Remote("127.0.0.1", port, "DRAW_SCP", "SENDER", 10.0, **options)


def stored_file():
    raw = Path(CT).read_bytes()
    offset = 144 + int.from_bytes(raw[140:144], "little")
    uid = str(pydicom.dcmread(CT).SOPInstanceUID)
    return StoredDataSet(CT, offset, CT_CLASS, uid), raw[offset:], uid


def test_echo():
    with listening() as (acceptor, provider):
        with open_association(remote(acceptor.port), ECHO) as made:
            assert made.echo() == 0
        assert wait_until(lambda: provider.ended)
        assert provider.ended[0][0] is AssociationOutcome.RELEASED


def test_many_objects_ahead_of_their_answers_arrive_as_stored():
    file, raw, uid = stored_file()
    objects = [Outgoing(file, CT_CLASS, uid, EXPLICIT_LITTLE) for _ in range(50)]
    with listening() as (acceptor, provider):
        proposed = contexts_for([(CT_CLASS, EXPLICIT_LITTLE)])
        with open_sender(remote(acceptor.port, originator=("MOVER", 9)), proposed) as made:
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
        with open_sender(remote(acceptor.port), proposed) as made:
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
        with open_sender(remote(acceptor.port), proposed) as made:
            assert [sent.status for sent in made.store(objects)] == [None, 0]
            with pytest.raises(NotSupported):
                made.association.echo()


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
        with open_sender(remote(server.server_address[1]), proposed) as made:
            assert made.window == 1
            objects = [Outgoing(file, CT_CLASS, uid, EXPLICIT_LITTLE)] * 3
            assert [sent.status for sent in made.store(objects)] == [0, 0, 0]
    finally:
        server.shutdown()
    assert received == [raw] * 3


def test_rejections_decide_whether_to_try_again(monkeypatch):
    monkeypatch.setattr(budgets, "PLACE_TIMEOUT_SECONDS", 0.0)
    config = EVERYTHING.model_copy(update={"security": SecurityConfig(validate_calling_ae=True)})
    with listening(RecordingProvider(config)) as (acceptor, _), pytest.raises(PeerRejected):
        open_association(remote(acceptor.port), ECHO)
    with listening(limits=AcceptorLimits(places=Limits(1, reserved=6))) as (acceptor, _):
        held = open_association(remote(acceptor.port), ECHO)
        with pytest.raises(PeerCongested):
            open_association(remote(acceptor.port), ECHO)
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
        with pytest.raises(PeerTurnedAway):
            open_association(remote(server.getsockname()[1]), ECHO)


class Stream:
    """A data set in parts; an exception among them is raised there."""

    def __init__(self, *parts):
        self._parts = parts
        self.ended = False

    def chunks(self):
        try:
            for part in self._parts:
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            self.ended = True


CONTEXTS = contexts_for([(CT_CLASS, EXPLICIT_LITTLE), (CT_CLASS, IMPLICIT_LITTLE)])


@pytest.mark.parametrize("parts", [(), (b"",), (b"abcd",), (b"x" * 40_000, b"y", b"z" * 16_378)])
def test_a_stream_arrives_whole(parts):
    stream = Stream(*parts)
    with listening() as (acceptor, provider):
        with open_sender(remote(acceptor.port), CONTEXTS) as made:
            objects = [Outgoing(stream, CT_CLASS, "1.2.3", EXPLICIT_LITTLE)] * 3
            assert [sent.status for sent in made.store(objects)] == [0] * 3
        assert [data for _, data in provider.stored] == [b"".join(parts)] * 3
    assert stream.ended


def test_what_cannot_be_begun_is_not_sent_and_the_association_goes_on():
    failures = [Undecodable("no decoder"), FileNotFoundError()]
    objects = [Outgoing(Stream(one), CT_CLASS, "1.2.3", EXPLICIT_LITTLE) for one in failures]
    objects.append(Outgoing(b"abcd", CT_CLASS, "1.2.4", EXPLICIT_LITTLE))
    with listening() as (acceptor, provider):
        with open_sender(remote(acceptor.port), CONTEXTS) as made:
            sent = [(one.status, one.reason) for one in made.store(objects)]
        assert [data for _, data in provider.stored] == [b"abcd"]
    reasons = ["no decoder", "its file cannot be read: FileNotFoundError"]
    assert sent == [*((None, reason) for reason in reasons), (0, "")]


@pytest.mark.parametrize("error", [Undecodable("damaged"), OSError("disk")])
def test_what_breaks_off_in_the_middle_never_arrives(error):
    # Two parts are sent before it is known.
    broken = Stream(b"x" * 100_000, b"y" * 100_000, b"z" * 100_000, error)
    objects = [
        Outgoing(b"abcd", CT_CLASS, "1.2.3", EXPLICIT_LITTLE),
        Outgoing(broken, CT_CLASS, "1.2.4", EXPLICIT_LITTLE),
    ]
    answered = []
    with listening() as (acceptor, provider):
        with (
            pytest.raises(CutShort) as cut,
            open_sender(remote(acceptor.port), CONTEXTS) as made,
        ):
            answered.extend(made.store(objects))
        # What was sent before has its answer.
        assert [(one.outgoing.sop_instance_uid, one.status) for one in answered] == [("1.2.3", 0)]
        assert cut.value.sop_instance_uid == "1.2.4"
        assert wait_until(lambda: provider.ended)
        assert provider.ended[0][0] is AssociationOutcome.ABORTED_BY_PEER
        assert [data for _, data in provider.stored] == [b"abcd"]
        assert provider.abandoned == 1
        assert provider.seen_bytes >= 200_000


def test_what_the_peer_refuses_for_its_encoding_is_sent_in_the_next():
    class Choosing(RecordingProvider):
        """Cannot read explicit VRs."""

        def store(self, info, request):
            if request.context.transfer_syntax == EXPLICIT_LITTLE:
                raise OperationRefused(self.refusal)
            return super().store(info, request)

    def objects():
        for number in range(20):
            others = iter([Rendition(Stream(b"implicit"), IMPLICIT_LITTLE)])
            uid = f"1.2.{number}"
            yield Outgoing(b"explicit", CT_CLASS, uid, EXPLICIT_LITTLE, others)

    provider = Choosing()
    with listening(provider) as (acceptor, _):
        for refusal, answers in ((0xC123, {0}), (0x0110, {0}), (0xA700, {0xA700})):
            provider.refusal, provider.stored = refusal, []
            with open_sender(remote(acceptor.port), CONTEXTS) as made:
                sent = {one.outgoing.sop_instance_uid: one.status for one in made.store(objects())}
            assert set(sent.values()) == answers
            assert len(sent) == 20
            assert len(provider.stored) == (20 if answers == {0} else 0)


def test_the_answer_stays_when_there_is_nothing_else_to_send():
    provider = RecordingProvider()
    provider.refuse_store = 0xC000
    others = iter([Rendition(Stream(Undecodable("no decoder")), IMPLICIT_LITTLE)])
    first = Outgoing(b"explicit", CT_CLASS, "1.2", EXPLICIT_LITTLE, others)
    with (
        listening(provider) as (acceptor, _),
        open_sender(remote(acceptor.port), CONTEXTS) as made,
    ):
        (sent,) = made.store([first])
    assert (sent.status, sent.reason) == (0xC000, "no decoder")
