"""C-STORE to a node by the worker: in a transcoded form where the node takes no other.

What becomes of the job is shown in tests/e2e/test_retrieves.py.
"""

import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from draw_qr_worker.adapters.sending import StoreAssociations
from draw_qr_worker.models import (
    IndexedObject,
    Interrupted,
    Item,
    Lease,
    RemoteNode,
    StoredFileAway,
)
from draw_qr_worker.services.jobs import ExecutionControl
from draw_shared.contracts.server_config import (
    EVERYTHING,
    SopClassConfig,
    TransferSyntaxConfig,
)
from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE
from draw_shared.dicom.network.peer_failures import PeerAborted
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits
from draw_shared.dicom.transcoding.transcoder import Transcoder
from support import datasets
from support.aborting_peers import (
    RETIRED_ULTRASOUND,
    pynetdicom_destination,
    retired_ultrasound,
)
from support.elements import SECONDARY_CAPTURE, element, encapsulated, write
from support.engine import RecordingProvider, listening

UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
ONLY_UNCOMPRESSED = EVERYTHING.model_copy(
    update={"transfer_syntaxes": TransferSyntaxConfig(jpeg_baseline=False)}
)


class Unstopped:
    """An execution that goes on to its end."""

    def check(self):
        pass

    def ended(self):
        return False

    def on_end(self, interrupt):
        pass


def _object(path):
    meta, _ = part10.decode(path.read_bytes())
    item = Item("1.2", "1.2.1", meta.sop_instance_uid, meta.sop_class_uid)
    return IndexedObject(item, meta.transfer_syntax_uid, path.name, path.stat().st_size)


def _sent(folder, port, objects):
    """Return (status, reason) of each object."""
    found = {}
    node = RemoteNode(1, "node", "NODE", "127.0.0.1", port)

    def answered(one, status, reason):
        assert one.path not in found
        found[one.path] = status, reason

    senders = StoreAssociations(
        folder, lambda _: "OWN", PeerTrusts(), Transcoder(Decoder(DecodingLimits(), folder))
    )
    senders.send(node, objects, Unstopped(), answered)
    return [found[one.path] for one in objects]


def test_what_the_node_takes_only_uncompressed_is_transcoded(tmp_path):
    jpeg = tmp_path / "jpeg.dcm"
    jpeg.write_bytes(Path(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")).read_bytes())
    plain = datasets.write(datasets.build("CT", size_bytes=5000), tmp_path / "plain.dcm")
    provider = RecordingProvider(ONLY_UNCOMPRESSED)
    with listening(provider) as (acceptor, _):
        assert _sent(tmp_path, acceptor.port, list(map(_object, (jpeg, plain)))) == [(0, "")] * 2
    by_class = {request.sop_class_uid: (request, data) for request, data in provider.stored}
    _, data = by_class[str(pydicom.dcmread(plain).SOPClassUID)]
    assert data == datasets.encoded_data_set(plain)
    request, data = by_class[SECONDARY_CAPTURE]
    assert request.context.transfer_syntax == EXPLICIT_LITTLE
    held = pydicom.filereader.read_dataset(
        pydicom.filebase.DicomBytesIO(data), is_implicit_VR=False, is_little_endian=True
    )
    before = pydicom.dcmread(jpeg)
    assert held.SOPInstanceUID == before.SOPInstanceUID
    assert np.frombuffer(held.PixelData, "u1").size == before.pixel_array.size


@pytest.fixture
def breaking(tmp_path):
    """Objects of two frames, of which the second is damaged in the one in the middle."""
    pixels = b"".join(
        element(tag, vr, value)
        for tag, vr, value in (
            (0x00080016, "UI", f"{SECONDARY_CAPTURE}\0"), (0x00280002, "US", b"\1\0"),
            (0x00280008, "IS", b"2 "), (0x00280010, "US", b"\0\4"), (0x00280011, "US", b"\0\4"),
            (0x00280100, "US", b"\10\0"),
        )
    )  # fmt: skip
    frame = bytes(1024 * 1024)
    made = []
    for number, second in enumerate((frame, b"short " * 100, frame)):
        path = tmp_path / f"{number}.dcm"
        write(path, pixels + encapsulated([frame, second]), UNCOMPRESSED_FRAMES)
        path.write_bytes(path.read_bytes().replace(b"1.2.3.4\0", f"1.2.3.{number}\0".encode()))
        made.append(_object(path))
    return made


def test_what_breaks_off_in_the_middle_fails_alone(tmp_path, breaking):
    provider = RecordingProvider(ONLY_UNCOMPRESSED)
    with listening(provider) as (acceptor, _):
        good, broken, last = _sent(tmp_path, acceptor.port, breaking)
    assert (good, last) == ((0, ""), (0, ""))
    assert broken == (None, "a frame has another size than the image")
    stored = [request.sop_instance_uid for request, _ in provider.stored]
    assert stored == ["1.2.3.0", "1.2.3.2"]
    assert len(provider.infos) == 2


def test_what_the_node_takes_nowise_has_its_reason(tmp_path):
    ct = datasets.write(datasets.build("CT"), tmp_path / "ct.dcm")
    mr = datasets.write(datasets.build("MR"), tmp_path / "mr.dcm")
    damaged = datasets.write(datasets.build("CT"), tmp_path / "damaged.dcm")
    objects = [_object(path) for path in (ct, mr, damaged)]
    damaged.write_bytes(b"not an object")
    classes = SopClassConfig(mr_image=False, all_storage_classes=False)
    config = EVERYTHING.model_copy(update={"sop_classes": classes})
    with listening(RecordingProvider(config)) as (acceptor, _):
        first, second, third = _sent(tmp_path, acceptor.port, objects)
    assert first == (0, "")
    assert second[0] is third[0] is None
    assert "no transfer syntax" in second[1]
    assert "cannot be read" in third[1]


@pytest.mark.parametrize("gone_before", ["it is looked for", "it is sent"])
def test_what_is_away_now_is_said_after_the_others_were_sent(tmp_path, monkeypatch, gone_before):
    paths = [
        datasets.write(datasets.build("CT"), tmp_path / f"{name}.dcm") for name in ("away", "here")
    ]
    objects = [_object(path) for path in paths]
    if gone_before == "it is looked for":
        paths[0].unlink()
    else:
        prepare = StoreAssociations._prepare

        def prepared(self, sender, one):
            made = prepare(self, sender, one)
            if one is objects[0]:
                paths[0].unlink()
            return made

        monkeypatch.setattr(StoreAssociations, "_prepare", prepared)
    provider = RecordingProvider(EVERYTHING)
    with (
        listening(provider) as (acceptor, _),
        pytest.raises(StoredFileAway, match="1 are not sent; its file cannot be read: FileNotFou"),
    ):
        _sent(tmp_path, acceptor.port, objects)
    assert [r.sop_instance_uid for r, _ in provider.stored] == [objects[1].item.sop_instance_uid]


def test_an_object_at_which_the_node_aborts_holds_up_no_other(tmp_path):
    objects = [retired_ultrasound() if n in {0, 3, 4} else datasets.build("CT") for n in range(6)]
    stored = list(map(_object, datasets.write_all(objects, tmp_path / "objects")))
    found = {}
    node = RemoteNode(1, "node", "DEST", "127.0.0.1", 0)
    senders = StoreAssociations(
        tmp_path / "objects",
        lambda _: "OWN",
        PeerTrusts(),
        Transcoder(Decoder(DecodingLimits(), tmp_path)),
    )
    # It is tried again: what aborts once may not abort for ever.
    with (
        pynetdicom_destination(datasets.MODALITIES["CT"], RETIRED_ULTRASOUND) as (port, accepted),
        pytest.raises(PeerAborted),
    ):
        senders.send(
            replace(node, port=port),
            stored,
            Unstopped(),
            lambda one, status, _reason: found.update({one.path: status}),
        )
    assert found == {f"{n:05}.dcm": 0 for n in (1, 2, 5)}
    assert len(accepted) == 2


class Ending(RecordingProvider):
    """Has the execution that sends to it ended while it takes the third object."""

    def __init__(self, end):
        super().__init__(EVERYTHING)
        self._end = end
        self.answers = True

    def store(self, info, request):
        sink = super().store(info, request)
        if len(self.stored) == 2:
            commit = sink.commit

            def late():
                self._end()
                time.sleep(0.5)
                while not self.answers:
                    time.sleep(0.1)
                return commit()

            sink.commit = late
        return sink


@pytest.mark.parametrize("silent", [False, True])
def test_an_execution_that_must_end_knows_of_everything_that_the_node_has(tmp_path, silent):
    objects = [datasets.build("CT") for _ in range(40)]
    stored = list(map(_object, datasets.write_all(objects, tmp_path / "objects")))
    control = ExecutionControl(Lease(uuid4(), 1))
    node = RemoteNode(1, "node", "DEST", "127.0.0.1", 0)
    senders = StoreAssociations(
        tmp_path / "objects",
        lambda _: "OWN",
        PeerTrusts(),
        Transcoder(Decoder(DecodingLimits(), tmp_path)),
    )
    found = []
    provider = Ending(lambda: control.end(Interrupted("the worker is stopping")))
    provider.answers = not silent
    with listening(provider) as (acceptor, _):
        try:
            with pytest.raises(Interrupted):
                senders.send(
                    replace(node, port=acceptor.port),
                    stored,
                    control,
                    lambda one, status, _reason: found.append((one.item.sop_instance_uid, status)),
                )
            if not silent:
                there = [(request.sop_instance_uid, 0) for request, _ in provider.stored]
                assert sorted(found) == sorted(there)
                assert len(there) < len(stored)
        finally:
            provider.answers = True
