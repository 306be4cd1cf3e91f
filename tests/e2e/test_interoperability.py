"""Clients of four makers against the receiver: C-ECHO and C-STORE, and DCMTK over TLS.

What a client reports is not believed: the bytes on the volume are compared with what it was
given. Not covered here: queries and retrieves (test_retrieves), every transfer syntax
(test_real_files).
"""

import pydicom
import pytest

from support import foreign_clients as clients
from support.certificates import Authority
from support.datasets import encoded_data_set, series, write_all
from support.receiver_process import ReceiverProcess
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

SIZES = (2_000, 140_000, 700_000)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    receiver = ReceiverProcess(tmp_path_factory.mktemp("receiver"))
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def dcmjs(tmp_path_factory):
    return clients.dcmjs_peer(tmp_path_factory.mktemp("dcmjs"))


@pytest.fixture
def sent(tmp_path):
    """Three files of different sizes, and their SOP instances by path."""
    objects = [one for size in SIZES for one in series(1, size_bytes=size)]
    return write_all(objects, tmp_path / "sent")


def check_stored(receiver, files):
    """Compare each file with what lies on the volume under its SOP Instance UID."""
    stored = {path.stem: path for path in (receiver.root / "objects").rglob("*.dcm")}
    for file in files:
        wanted = pydicom.dcmread(file)
        found = pydicom.dcmread(stored[wanted.SOPInstanceUID])
        # A client may encode anew; the values are the same in every transfer syntax.
        assert {one.tag: one.value for one in found} == {one.tag: one.value for one in wanted}


def released(receiver, calling_ae):
    """Return whether every association of this client ended in order."""
    ended = {
        line["outcome"]
        for line in receiver.lines("association.closed")
        if line["calling_ae"] == calling_ae
    }
    return ended == {"released"}


def test_dcmtk(receiver, sent):
    clients.dcmtk_echo(receiver.port)
    clients.dcmtk_store(receiver.port, sent)
    check_stored(receiver, sent)
    assert [encoded_data_set(file) for file in sent] == [
        encoded_data_set(next((receiver.root / "objects").rglob(f"{uid}.dcm")))
        for uid in (pydicom.dcmread(file).SOPInstanceUID for file in sent)
    ]
    assert wait_until(lambda: released(receiver, "STORESCU"), 60)


def test_pynetdicom(receiver, sent):
    clients.pynetdicom_echo(receiver.port)
    clients.pynetdicom_store(receiver.port, sent)
    check_stored(receiver, sent)


def test_gdcm(receiver, sent):
    clients.gdcm_echo(receiver.port)
    clients.gdcm_store(receiver.port, sent)
    check_stored(receiver, sent)
    assert wait_until(lambda: released(receiver, "GDCMSCU"), 60)


def test_dcmjs(receiver, dcmjs, sent):
    assert clients.dcmjs_send(dcmjs, receiver.port, sent) == [0, 0, 0, 0]
    check_stored(receiver, sent)
    assert wait_until(lambda: released(receiver, "DCMJS"), 60)


@pytest.mark.security
def test_dcmtk_over_tls_with_client_certificates(tmp_path, sent):
    authority = Authority(tmp_path)
    ours, theirs = authority.sign("receiver"), authority.sign("modality")
    tls = {
        "enabled": True,
        "port": 0,
        "certificate_file": ours.certificate,
        "key_file": ours.key,
        "client_ca_file": authority.file,
        "client_certificates": "required",
    }
    receiver = ReceiverProcess(tmp_path)
    receiver.configure(network={"tls": tls})
    receiver.start()
    try:
        options = ("+tls", theirs.key, theirs.certificate, "+cf", authority.file)
        clients.dcmtk_echo(receiver.port, *options)
        clients.dcmtk_store(receiver.port, sent, *options)
        check_stored(receiver, sent)
        with pytest.raises(AssertionError, match="Association Request Failed"):
            clients.dcmtk_echo(receiver.port, "+tla", "+cf", authority.file)
    finally:
        receiver.stop()
