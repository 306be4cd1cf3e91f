"""Associations end to end over loopback with pynetdicom and DCMTK as peers.

Not covered here: hostile peers (test_hostile_peers), mutated input (test_mutations).
"""

import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as StudyFind,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as StudyGet,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelMove as StudyMove,
)
from pynetdicom.sop_class import Verification

from draw_shared.contracts.config_snapshot import AllowedPeer
from draw_shared.contracts.server_config import EVERYTHING, SecurityConfig
from draw_shared.dicom.network import budgets
from draw_shared.dicom.network.limits import AcceptorLimits, AssociationLimits
from draw_shared.dicom.network.service import AssociationOutcome
from draw_shared.dicom.network.shares import Limits
from support.engine import RecordingProvider, listening
from support.raw_stores import rejection
from support.waiting import wait_until

CT = get_testdata_file("CT_small.dcm")


def client(*contexts):
    ae = AE("TESTER")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    for context in contexts:
        ae.add_requested_context(context)
    return ae


def associate(acceptor, *contexts, **options):
    return client(*contexts).associate("127.0.0.1", acceptor.port, **options)


def data_set_bytes(path):
    raw = Path(path).read_bytes()
    return raw[144 + struct.unpack_from("<I", raw, 140)[0] :]


def test_echo_and_release():
    with listening() as (acceptor, provider):
        made = associate(acceptor, Verification)
        assert made.send_c_echo().Status == 0
        made.release()
        assert wait_until(lambda: provider.ended)
        assert provider.ended[0][0] is AssociationOutcome.RELEASED
        assert wait_until(lambda: acceptor.active_associations == acceptor.connections == 0)


@pytest.mark.parametrize("max_pdu", [4096, 16384, 131072])
def test_stored_bytes_arrive_unchanged(max_pdu):
    limits = AcceptorLimits(association=AssociationLimits(max_pdu_bytes=max_pdu))
    with listening(limits=limits) as (acceptor, provider):
        ae = AE("TESTER")
        ae.add_requested_context(CTImageStorage, pydicom.uid.ExplicitVRLittleEndian)
        made = ae.associate("127.0.0.1", acceptor.port)
        for _ in range(3):
            assert made.send_c_store(CT).Status == 0
        made.release()
        wanted = pydicom.dcmread(CT)
        assert len(provider.stored) == 3
        request, raw = provider.stored[0]
        assert request.sop_instance_uid == wanted.SOPInstanceUID
        assert raw == data_set_bytes(CT)


def test_store_refused_before_and_while_reading_keeps_the_association():
    with listening() as (acceptor, provider):
        made = associate(acceptor, CTImageStorage, Verification)
        provider.refuse_store = 0xA700
        assert made.send_c_store(CT).Status == 0xA700
        provider.refuse_store = None
        provider.refuse_while_writing = True
        assert made.send_c_store(CT).Status == 0xA700
        provider.refuse_while_writing = False
        assert made.send_c_store(CT).Status == 0
        assert made.send_c_echo().Status == 0
        made.release()
        assert len(provider.stored) == 1
        assert provider.abandoned == 1


def test_abort_in_the_middle_abandons_nothing_and_is_reported():
    with listening() as (acceptor, provider):
        made = associate(acceptor, CTImageStorage)
        made.abort()
        assert wait_until(lambda: provider.ended)
        assert provider.ended[0][0] is AssociationOutcome.ABORTED_BY_PEER


def query():
    found = pydicom.Dataset()
    found.QueryRetrieveLevel = "STUDY"
    found.PatientID = ""
    return found


def encoded(data_set):
    return encode(data_set, is_implicit_vr=True, is_little_endian=True)


def test_find_answers_pending_then_success():
    provider = RecordingProvider()
    provider.matches = [encoded(query())] * 5
    with listening(provider) as (acceptor, _):
        made = associate(acceptor, StudyFind)
        statuses = [status.Status for status, _ in made.send_c_find(query(), StudyFind)]
        made.release()
    assert statuses == [0xFF00] * 5 + [0]


def test_cancel_ends_a_find():
    provider = RecordingProvider()
    provider.matches = [encoded(query())] * 3
    provider.gate = lambda cancelled: cancelled()
    with listening(provider) as (acceptor, _):
        made = associate(acceptor, StudyFind)
        answers = made.send_c_find(query(), StudyFind, msg_id=7)
        made.send_c_cancel(7, query_model=StudyFind)
        statuses = [status.Status for status, _ in answers]
        made.release()
    assert statuses[-1] == 0xFE00
    assert len(statuses) == 2


def test_move_refusal_is_answered():
    with listening() as (acceptor, _):
        made = associate(acceptor, StudyMove)
        statuses = [s.Status for s, _ in made.send_c_move(query(), "NOWHERE", StudyMove)]
        made.release()
    assert statuses == [0xA801]


def test_get_sends_objects_back_on_the_same_association():
    source = pydicom.dcmread(CT)
    provider = RecordingProvider()
    raw = encoded(source)
    sop = str(source.SOPClassUID), str(source.SOPInstanceUID)
    provider.objects = [(str(ImplicitVRLittleEndian), sop, raw)] * 3
    received = []

    def on_store(event):
        received.append(event.request.DataSet.getvalue())
        return 0

    with listening(provider) as (acceptor, _):
        ae = client(StudyGet)
        ae.add_requested_context(CTImageStorage, ImplicitVRLittleEndian)
        made = ae.associate(
            "127.0.0.1",
            acceptor.port,
            ext_neg=[build_role(CTImageStorage, scp_role=True)],
            evt_handlers=[(evt.EVT_C_STORE, on_store)],
        )
        statuses = [s.Status for s, _ in made.send_c_get(query(), StudyGet)]
        made.release()
    assert statuses == [0xFF00] * 3 + [0]
    assert received == [raw] * 3
    assert provider.sub_statuses == [0] * 3


ELSEWHERE = AllowedPeer("RAW", "10.9.9.9")


@pytest.mark.security
@pytest.mark.parametrize(
    ("security", "listed", "called", "answer"),
    [
        (SecurityConfig(check_called_ae=True), (), "OTHER", (1, 1, 7)),
        (SecurityConfig(validate_calling_ae=True), (), "DRAW_SCP", (1, 1, 3)),
        (SecurityConfig(validate_calling_ae=True), (ELSEWHERE,), "DRAW_SCP", (1, 1, 3)),
        (SecurityConfig(allowed_ips=("10.0.0.0/8",)), (), "DRAW_SCP", (1, 1, 1)),
    ],
)
def test_rejections_say_why(security, listed, called, answer):
    config = EVERYTHING.model_copy(update={"security": security})
    with listening(RecordingProvider(config, listed)) as (acceptor, provider):
        assert rejection(acceptor.port, called=called) == answer
        assert len(provider.rejections) == 1


@pytest.mark.security
def test_the_association_above_the_budget_is_rejected_for_now(monkeypatch):
    monkeypatch.setattr(budgets, "PLACE_TIMEOUT_SECONDS", 0.2)
    limits = AcceptorLimits(places=Limits(1, reserved=0))
    with listening(limits=limits) as (acceptor, _):
        first = associate(acceptor, Verification)
        assert rejection(acceptor.port) == (2, 3, 2)
        assert first.send_c_echo().Status == 0
        first.release()
        assert wait_until(lambda: acceptor.active_associations == 0)
        third = associate(acceptor, Verification)
        assert third.is_established
        third.release()


def test_a_request_waits_a_moment_for_its_place():
    with listening(limits=AcceptorLimits(places=Limits(1, reserved=6))) as (acceptor, _):
        first = associate(acceptor, Verification)
        ending = threading.Timer(0.3, first.release)
        ending.start()
        second = associate(acceptor, Verification)
        assert second.is_established
        second.release()
        ending.join()


def test_stopping_lets_a_running_association_finish():
    with listening() as (acceptor, provider):
        made = associate(acceptor, CTImageStorage)
        stopping = threading.Thread(target=acceptor.stop, args=(10,))
        stopping.start()
        time.sleep(0.3)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", acceptor.port), 1)
        assert made.send_c_store(CT).Status == 0
        made.release()
        stopping.join(10)
        assert len(provider.stored) == 1
        assert provider.ended[0][0] is AssociationOutcome.RELEASED


@pytest.mark.needs("echoscu", "storescu")
def test_dcmtk_echoes_and_stores():
    with listening() as (acceptor, provider):
        port = str(acceptor.port)
        subprocess.run(["echoscu", "127.0.0.1", port], check=True, timeout=20)
        subprocess.run(["storescu", "127.0.0.1", port, CT, CT], check=True, timeout=20)
        # DCMTK leaves the trailing padding (FFFC,FFFC) out.
        first, second = (raw for _, raw in provider.stored)
        assert first == second
        assert len(first) > 32768
        assert data_set_bytes(CT).startswith(first)
