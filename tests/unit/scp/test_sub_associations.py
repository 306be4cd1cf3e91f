"""C-MOVE's sub-associations against our own acceptor.

Other vendors' storage SCPs receive in tests/e2e/test_query_retrieve.py; which certificates are
trusted is in tests/security/test_peer_trust.py.
"""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import generate_uid

from draw_scp.adapters.object_files import ObjectFiles
from draw_scp.adapters.sub_associations import MAX_FRUITLESS_ASSOCIATIONS, SubAssociations
from draw_scp.models import DeliveryOrder, Destination, StoredInstance
from draw_shared.contracts.server_config import (
    EVERYTHING,
    ServerConfig,
    ServiceConfig,
    SopClassConfig,
    TransferSyntaxConfig,
)
from draw_shared.dicom.encoding.uids import (
    ALL_STORAGE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.association import MAX_OPERATIONS
from draw_shared.dicom.network.contexts import group_by_contexts
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.dicom.network.service import OperationRefused
from draw_shared.dicom.network.tls import ServerTls, TlsFiles
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits
from draw_shared.dicom.transcoding.transcoder import Transcoder
from support import datasets
from support.aborting_peers import (
    RETIRED_ULTRASOUND,
    pynetdicom_destination,
    retired_ultrasound,
)
from support.certificates import Authority
from support.engine import RecordingProvider, listening
from support.waiting import wait_until
from tools.processes import free_port

CT = "1.2.840.10008.5.1.4.1.1.2"


NO_AUTHORITIES = PeerTrusts(Path("/nowhere/ca.pem"))


def _destination(port, **changes):
    values = {
        "ae_title": "DEST", "host": "127.0.0.1", "port": port, "calling_ae": "",
        "timeout_seconds": 5.0, "tls": False, "tls_fingerprint": "",
        "max_associations": 4,
    }  # fmt: skip
    return Destination(**values | changes)


def _stored(folder, objects):
    paths = datasets.write_all(objects, folder)
    return [
        StoredInstance(
            str(one.SOPInstanceUID),
            str(one.SOPClassUID),
            str(one.file_meta.TransferSyntaxUID),
            path.name,
        )
        for one, path in zip(objects, paths, strict=True)
    ]


def _send(folder, destination, instances, *, parallel=1, cancel_after=None, trusts=NO_AUTHORITIES):
    """Return what became of each object, by UID."""
    files = ObjectFiles(lambda path: folder / path, Transcoder(Decoder(DecodingLimits(), folder)))
    found = {}
    order = DeliveryOrder("MOVER", 9, parallel)
    with SubAssociations(files, lambda: "OWN", trusts).delivering(
        destination, order, instances
    ) as delivery:
        for one in delivery.results():
            if one is not None:
                found[one.sop_instance_uid] = one
            if cancel_after is not None and len(found) >= cancel_after:
                delivery.cancel()
    return found


def _kind(instance):
    return instance.sop_class_uid, instance.transfer_syntax_uid


def _threads():
    return [t for t in threading.enumerate() if t.name.startswith("sub-association")]


@contextmanager
def _taking(**config):
    provider = RecordingProvider(ServerConfig(services=ServiceConfig(c_store=True), **config))
    with listening(provider) as (acceptor, _):
        yield acceptor.port, provider


class Meeting(RecordingProvider):
    """Takes no object before so many associations are open, so that each gets its share."""

    def __init__(self, associations):
        super().__init__()
        self._associations = associations

    def store(self, info, request):
        assert wait_until(lambda: len(self.infos) >= self._associations)
        return super().store(info, request)


@pytest.mark.parametrize("parallel", [1, 3])
def test_every_object_arrives_with_its_bytes_and_its_originator(tmp_path, parallel):
    # More than the others can take on before the last association is open.
    objects = MAX_OPERATIONS * parallel
    instances = _stored(tmp_path, datasets.series(objects, size_bytes=3000))
    with listening(Meeting(parallel)) as (acceptor, provider):
        found = _send(tmp_path, _destination(acceptor.port), instances, parallel=parallel)
        assert wait_until(lambda: len(provider.ended) == parallel)
    assert {one.status for one in found.values()} == {0}
    assert len(provider.stored) == len(found) == objects
    for request, data in provider.stored:
        (path,) = (i.path for i in instances if i.sop_instance_uid == request.sop_instance_uid)
        assert data == datasets.encoded_data_set(tmp_path / path)
        assert (request.move_originator_ae, request.move_originator_message_id) == ("MOVER", 9)
    assert {info.calling_ae for info in provider.infos} == {"OWN"}
    assert _threads() == []


def test_a_node_sets_how_we_call_ourselves_and_how_many_associations_it_takes(tmp_path):
    instances = _stored(tmp_path, datasets.series(2 * MAX_OPERATIONS))
    with listening(Meeting(2)) as (acceptor, provider):
        destination = _destination(acceptor.port, calling_ae="OTHER", max_associations=2)
        _send(tmp_path, destination, instances, parallel=8)
        assert wait_until(lambda: len(provider.ended) == 2)
    assert [info.calling_ae for info in provider.infos] == ["OTHER", "OTHER"]


def test_a_missing_file_fails_alone(tmp_path):
    instances = _stored(tmp_path, datasets.series(5))
    (tmp_path / instances[2].path).unlink()
    (tmp_path / instances[3].path).write_bytes(b"no DICOM")
    with listening() as (acceptor, _):
        found = _send(tmp_path, _destination(acceptor.port), instances)
    assert [found[i.sop_instance_uid].status for i in instances] == [0, 0, None, None, 0]


def test_what_the_destination_does_not_take_as_stored_is_transcoded(tmp_path):
    big = datasets.build("CT", size_bytes=2000)
    instances = _stored(tmp_path, [big])
    syntaxes = TransferSyntaxConfig(explicit_vr_little_endian=False)
    with _taking(transfer_syntaxes=syntaxes) as (port, provider):
        found = _send(tmp_path, _destination(port), instances)
    assert [one.status for one in found.values()] == [0]
    ((request, data),) = provider.stored
    assert request.context.transfer_syntax == IMPLICIT_LITTLE
    assert data != datasets.encoded_data_set(tmp_path / instances[0].path)


def test_what_it_refuses_as_stored_is_tried_in_the_next_transfer_syntax(tmp_path):
    class Choosing(RecordingProvider):
        """Cannot read what has explicit VRs."""

        def store(self, info, request):
            if request.context.transfer_syntax == EXPLICIT_LITTLE:
                raise OperationRefused(0xC000, "no")
            return super().store(info, request)

    instances = _stored(tmp_path, datasets.series(5, size_bytes=2000))
    with listening(Choosing()) as (acceptor, provider):
        found = _send(tmp_path, _destination(acceptor.port), instances)
    assert {one.status for one in found.values()} == {0}
    assert {r.context.transfer_syntax for r, _ in provider.stored} == {IMPLICIT_LITTLE}
    assert len(provider.stored) == 5


def test_what_breaks_off_in_the_middle_fails_alone_and_never_arrives(tmp_path):
    # The second of its two frames is damaged.
    objects = datasets.series(5, size_bytes=2000)
    broken = objects[2]
    broken.NumberOfFrames, broken.Rows, broken.Columns = 2, 1024, 1024
    frame = bytes(2 * 1024 * 1024)
    broken.PixelData = encapsulate([frame, b"short "], has_bot=False)
    broken["PixelData"].VR, broken["PixelData"].is_undefined_length = "OB", True
    broken.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.98"
    instances = _stored(tmp_path, objects)
    with _taking() as (port, provider):
        found = _send(tmp_path, _destination(port), instances)
        assert wait_until(lambda: len(provider.ended) == 2)
    assert [found[i.sop_instance_uid].status for i in instances] == [0, 0, None, 0, 0]
    reason = found[broken.SOPInstanceUID].reason
    assert reason == "a frame has another size than the image"
    assert len(provider.stored) == 4
    assert provider.abandoned == 1


def test_an_object_at_which_the_destination_aborts_fails_alone(tmp_path):
    objects = [retired_ultrasound() if n in {0, 2, 3} else datasets.build("CT") for n in range(7)]
    instances = _stored(tmp_path, objects)
    with pynetdicom_destination(CT, RETIRED_ULTRASOUND) as (port, _):
        found = _send(tmp_path, _destination(port), instances)
    assert [found[one.sop_instance_uid].status for one in instances] == [
        None, 0, None, None, 0, 0, 0
    ]  # fmt: skip
    assert {one.reason for one in found.values() if one.status is None} == {
        "the destination broke off the association"
    }


def test_a_destination_that_aborts_at_everything_is_left_alone(tmp_path):
    instances = _stored(tmp_path, [retired_ultrasound() for _ in range(8)])
    with pynetdicom_destination(RETIRED_ULTRASOUND) as (port, accepted):
        found = _send(tmp_path, _destination(port), instances)
    assert {one.status for one in found.values()} == {None}
    assert len(found) == 8
    assert len(accepted) == MAX_FRUITLESS_ASSOCIATIONS


def test_what_it_takes_nowise_fails_alone(tmp_path):
    objects = [datasets.build("CT"), datasets.build("MR"), datasets.build("CT")]
    instances = _stored(tmp_path, objects)
    with _taking(sop_classes=SopClassConfig(mr_image=False)) as (port, provider):
        found = _send(tmp_path, _destination(port), instances)
    assert [found[i.sop_instance_uid].status for i in instances] == [0, None, 0]
    assert len(provider.stored) == 2


def test_an_unreachable_destination_fails_all_with_a_reason(tmp_path):
    instances = _stored(tmp_path, datasets.series(3))
    found = _send(tmp_path, _destination(free_port()), instances, parallel=2)
    assert {one.status for one in found.values()} == {None}
    assert {one.reason for one in found.values()} == {"the destination cannot be reached"}
    assert len(found) == 3


def test_unusable_certificates_fail_all_with_a_reason(tmp_path):
    instances = _stored(tmp_path, datasets.series(2))
    found = _send(tmp_path, _destination(free_port(), tls=True), instances)
    assert {one.reason for one in found.values()} == {
        "TLS destinations cannot be called: the file of authorities /nowhere/ca.pem is not there"
    }


def test_only_a_destination_whose_certificate_is_trusted_gets_objects(tmp_path):
    authority = Authority(tmp_path)
    elsewhere = authority.sign("elsewhere", hosts=("DNS:pacs.example.org",))
    instances = _stored(tmp_path, datasets.series(2))
    trusts = PeerTrusts(Path(authority.file))
    with listening(tls=ServerTls(TlsFiles(**elsewhere.tls))) as (acceptor, provider):

        def sent(**pinned):
            destination = _destination(acceptor.port, tls=True, **pinned)
            found = _send(tmp_path, destination, instances, trusts=trusts)
            return {(one.status, one.reason) for one in found.values()}

        words = (
            "the destination is not trusted: the certificate is for pacs.example.org, not for host"
            " 127.0.0.1: pin it, or correct the host"
        )
        assert sent() == {(None, words)}
        assert provider.stored == []
        assert sent(tls_fingerprint=elsewhere.fingerprint) == {(0, "")}
        assert len(provider.stored) == 2


def test_a_cancel_leaves_the_rest_unsent(tmp_path):
    instances = _stored(tmp_path, datasets.series(60))
    with listening() as (acceptor, provider):
        found = _send(tmp_path, _destination(acceptor.port), instances, cancel_after=2)
        assert wait_until(lambda: provider.ended)
    assert 2 <= len(found) < 60
    assert len(provider.stored) == len(found)
    assert _threads() == []


def test_more_kinds_than_one_association_proposes(tmp_path):
    classes = sorted(ALL_STORAGE)[:60]
    instances = [
        StoredInstance(generate_uid(), sop_class, EXPLICIT_BIG, "none") for sop_class in classes
    ]
    made = group_by_contexts(instances, _kind)
    assert [len({one.abstract_syntax for one in contexts}) for contexts, _ in made] == [42, 18]
    assert [len({one.context_id for one in contexts}) for contexts, _ in made] == [126, 54]
    assert [one for _, left in made for one in left] == instances
    one = datasets.build("CT")
    (tmp_path / "none").write_bytes(datasets.write(one, tmp_path / "one.dcm").read_bytes())
    with listening(RecordingProvider(EVERYTHING)) as (acceptor, provider):
        found = _send(tmp_path, _destination(acceptor.port), instances)
        assert wait_until(lambda: len(provider.ended) == 2)
    assert {one.status for one in found.values()} == {0}
    assert len(provider.stored) == 60


def test_objects_of_one_kind_need_one_group():
    instances = [StoredInstance(str(n), CT, EXPLICIT_LITTLE, "") for n in range(500)]
    ((contexts, left),) = group_by_contexts(instances, _kind)
    assert contexts == (
        ProposedContext(1, CT, (EXPLICIT_LITTLE,)),
        ProposedContext(3, CT, (IMPLICIT_LITTLE,)),
    )
    assert len(left) == 500
