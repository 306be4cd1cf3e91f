"""What the use case refuses, with which failure, and that nothing is left of it.

Not covered here: the disk (test_objects) and the statuses on the wire (test_store_edge).
"""

from datetime import UTC, datetime

import pytest

from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.network.service import AssociationInfo, PresentationContext, StoreRequest
from draw_shared.storage import layout
from draw_shared.storage.incoming import NoSpace
from draw_shared.storage.ingest import (
    DataSetDoesNotMatch,
    Incomprehensible,
    Ingest,
    InvalidSopInstance,
    SopClassNotNegotiated,
)
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import ObjectStore
from draw_shared.storage.reception import FilingRules
from draw_shared.storage.space import Space, SpaceLimits
from support.datasets import build
from support.receptions import encoded

PLENTY = SpaceLimits(10**12, 0)


class KeptOutbox:
    def __init__(self):
        self.announced = []

    def announce(self, stored):
        self.announced.append(stored)


class Bench:
    def __init__(self, root, limits=PLENTY):
        self.store = ObjectStore(root, "one")
        self.store.start()
        self.outbox = KeptOutbox()
        self.space = Space(root)
        rules = FilingRules(Layout(StorageStructure.FLAT, FileNaming.SOP_UID), limits)
        self.ingest = Ingest(self.store, self.space, self.outbox, lambda: rules, "one")

    def send(self, made, data=None, **changes):
        syntax = str(made.file_meta.TransferSyntaxUID)
        sop_class = str(made.SOPClassUID)
        context = PresentationContext(1, changes.pop("negotiated", sop_class), syntax)
        info = AssociationInfo(
            "a1", "CALLER", "DRAW", "192.0.2.7", "192.0.2.1", datetime.now(UTC), {1: context}, 0, ""
        )
        request = StoreRequest(
            1,
            changes.pop("sop_class", sop_class),
            changes.pop("sop_instance", str(made.SOPInstanceUID)),
            context,
            **changes,
        )
        reception = self.ingest.begin(info, request)
        reception.write(memoryview(encoded(made) if data is None else data))
        try:
            return reception.complete()
        finally:
            reception.abandon()

    def left(self):
        root = self.store.root
        own = {".lock", layout.LATEST_DELETION, layout.PLACE_KEY}
        return [p for p in root.rglob("*") if p.is_file() and p.name not in own]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.store.stop(1)


def test_an_accepted_object_is_announced_with_where_it_came_from(bench):
    stored = bench.send(build(), move_originator_ae="MOVER", move_originator_message_id=9)
    assert bench.outbox.announced == [stored]
    assert bench.space.used_bytes == stored.size_bytes
    assert stored.meta.sending_ae == "CALLER"
    assert stored.meta.provenance["originator_ae"] == "MOVER"
    assert stored.meta.provenance["originator_message"] == 9


def without(keyword):
    made = build()
    del made[keyword]
    return encoded(made)


CT, MR = build("CT"), build("MR")
SAME = {"StudyInstanceUID": CT.StudyInstanceUID, "SeriesInstanceUID": CT.SeriesInstanceUID}


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"negotiated": "1.2.3"}, SopClassNotNegotiated),
        ({"sop_class": ""}, SopClassNotNegotiated),
        ({"sop_instance": "1.2.4"}, DataSetDoesNotMatch),
        ({"sop_instance": ""}, InvalidSopInstance),
        ({"sop_instance": "../../etc/passwd"}, InvalidSopInstance),
        ({"sop_instance": "1." + "2" * 63}, InvalidSopInstance),
        ({"data": encoded(MR)}, DataSetDoesNotMatch),
        ({"data": b"this is not DICOM" * 100}, Undecodable),
        ({"data": b""}, Undecodable),
        ({"data": encoded(CT)[:197]}, Undecodable),
    ],
)
def test_what_does_not_agree_is_refused_and_leaves_nothing(bench, changes, failure):
    with pytest.raises(failure):
        bench.send(CT, **changes)
    assert bench.left() == []
    assert bench.outbox.announced == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "1.2.x", "../1.2"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_study_or_series_uid_must_be_there_and_be_one(bench, keyword, value):
    made = build()
    if value is None:
        del made[keyword]
    else:
        setattr(made, keyword, value)
    with pytest.raises(Undecodable if value is None else Incomprehensible):
        bench.send(made)
    assert bench.left() == []


@pytest.mark.parametrize(
    "limits", [SpaceLimits(0, 0), SpaceLimits(5_000, 0), SpaceLimits(10**12, 101)]
)
def test_quota_and_watermark_refuse_and_leave_nothing(tmp_path, limits):
    bench = Bench(tmp_path, limits)
    with pytest.raises(NoSpace):
        bench.send(build(size_bytes=10_000))
    assert bench.left() == []
    bench.store.stop(1)
