"""C-GET and C-MOVE as use cases: counts, statuses, failed list, cancel, transfer syntaxes."""

from contextlib import contextmanager

import pytest

from draw_scp.models import Delivered, Destination, StoredInstance
from draw_scp.services.retrieve import PROGRESS_OBJECTS, SubOperationService
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from draw_shared.dicom.network.renditions import Rendition
from draw_shared.dicom.network.service import (
    CutShort,
    OperationRefused,
    QueryRequest,
    RetrieveEnd,
    StoredDataSet,
)
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.query import parse_retrieve
from draw_shared.errors import Permanent
from support.identifiers import decoded, request

STUDY = "1.2"
CT, JPEG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.4.50"
NODE = Destination(
    "DEST", "127.0.0.1", 104, "", 5.0, tls=False, tls_fingerprint="", max_associations=1
)
MOVER = Claimant("192.0.2.1", "MOVER", listed=False)
GET = request("STUDY", uids.STUDY_ROOT_GET, StudyInstanceUID="1.2")
MOVE = request("STUDY", uids.STUDY_ROOT_MOVE, StudyInstanceUID="1.2")


class FakeCatalogue:
    """Holds instances and one destination."""

    def __init__(self, instances):
        self._instances = instances

    def instances(self, _selection, _by):
        return self._instances

    def destination(self, ae_title, _by):
        return NODE if ae_title == NODE.ae_title else None


class FakeObjects:
    """Has every object but those named."""

    def __init__(self, *, missing=(), undecodable=()):
        self._missing, self._undecodable = missing, undecodable

    def renditions(self, instance, takes):
        if instance.sop_instance_uid in self._missing:
            raise Permanent("no file")
        stored = instance.transfer_syntax_uid
        if takes(stored):
            file = StoredDataSet("path", 0, instance.sop_class_uid, instance.sop_instance_uid)
            yield Rendition(file, stored)
        for syntax in uids.UNCOMPRESSED:
            if syntax != stored and takes(syntax):
                if instance.sop_instance_uid in self._undecodable:
                    raise Permanent("no decoder")
                yield Rendition(syntax.encode(), syntax)


class FakeChannel:
    """Takes what it was told to take and answers what it was told to answer."""

    def __init__(self, *syntaxes, statuses=None, refused=None, breaks_at=None, cut_at=None):
        self._syntaxes, self._statuses, self._breaks_at = syntaxes, statuses or {}, breaks_at
        self._refused, self._cut_at = refused or {}, cut_at
        self.sent = []

    def context_for(self, _sop_class, syntax):
        return self._syntaxes.index(syntax) if syntax in self._syntaxes else None

    def store(self, data, context_id, sop, meanwhile=lambda: None):
        if sop[1] == self._breaks_at:
            raise ConnectionResetError
        if sop[1] == self._cut_at:
            raise CutShort(sop[1], "damaged")
        self.sent.append((data, self._syntaxes[context_id], sop))
        meanwhile()
        return self._refused.get(self._syntaxes[context_id], self._statuses.get(sop[1], 0))


class FakeSubAssociations:
    """Answers for each object what it was told."""

    def __init__(self, statuses):
        self._statuses = statuses
        self.orders = []
        self.ended = False

    @contextmanager
    def delivering(self, destination, order, instances):
        self.orders.append((destination, order))
        delivery = FakeDelivery(
            [(i.sop_instance_uid, self._statuses.get(i.sop_instance_uid, 0)) for i in instances]
        )
        yield delivery
        self.ended = True


class FakeDelivery:
    """Ends one object after the other until it is cancelled."""

    def __init__(self, ends):
        self._ends, self._cancelled = ends, False

    def results(self):
        for uid, status in self._ends:
            if self._cancelled:
                return
            yield None
            yield Delivered(uid, status, "" if status is not None else "away")

    def cancel(self):
        self._cancelled = True


def _instances(count, syntax=EXPLICIT_LITTLE):
    return [StoredInstance(f"1.2.{n}", CT, syntax, f"objects/{n}", STUDY) for n in range(count)]


def _retrievals(instances, objects=None, sub_associations=None, ended=None):
    return SubOperationService(
        FakeCatalogue(instances),
        objects or FakeObjects(),
        sub_associations or FakeSubAssociations({}),
        lambda: 2,
        lambda operation, end: (ended if ended is not None else []).append((operation, str(end))),
    )


def _never():
    return False


def _get(instances, channel, objects=None, cancelled=_never, ended=None):
    retrievals = _retrievals(instances, objects, ended=ended)
    return list(retrievals.get(GET, parse_retrieve(GET, b""), channel, cancelled, MOVER))


def _move(instances, statuses, cancelled=_never, to="DEST"):
    sub_associations = FakeSubAssociations(statuses)
    retrievals = _retrievals(instances, sub_associations=sub_associations)
    asked = QueryRequest(MOVE.message_id, MOVE.sop_class_uid, MOVE.context, MOVE.identifier, to)
    steps = list(retrievals.move(asked, parse_retrieve(asked, b""), MOVER, cancelled))
    return steps, sub_associations


def _failed(end):
    found = decoded(end.identifier).FailedSOPInstanceUIDList
    return [found] if isinstance(found, str) else list(found)


def test_objects_go_as_they_lie_where_the_peer_takes_them():
    channel = FakeChannel(EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    *_, end = _get(_instances(3), channel)
    assert (end.status, end.counts.completed, end.identifier) == (0x0000, 3, b"")
    assert all(isinstance(data, StoredDataSet) for data, _, _ in channel.sent)
    assert [sop[1] for _, _, sop in channel.sent] == ["1.2.0", "1.2.1", "1.2.2"]


def test_others_go_in_an_uncompressed_syntax_that_the_peer_takes():
    channel = FakeChannel(IMPLICIT_LITTLE)
    *_, end = _get(_instances(1, JPEG), channel)
    assert end.status == 0x0000
    assert channel.sent == [(IMPLICIT_LITTLE.encode(), IMPLICIT_LITTLE, (CT, "1.2.0"))]


def test_nothing_to_send_is_success():
    assert [step.status for step in _get([], FakeChannel())] == [0x0000]


@pytest.mark.parametrize(
    "objects", [FakeObjects(missing={"1.2.1"}), FakeObjects(undecodable={"1.2.1"})]
)
def test_what_cannot_be_had_is_a_failed_sub_operation(objects):
    instances = _instances(1) + _instances(2, JPEG)[1:] + _instances(3)[2:]
    if isinstance(objects, FakeObjects) and objects._missing:
        instances = _instances(3)
    ended = []
    *_, end = _get(instances, FakeChannel(EXPLICIT_LITTLE), objects, ended=ended)
    assert (end.status, end.counts.completed, end.counts.failed) == (0xB000, 2, 1)
    assert _failed(end) == ["1.2.1"]
    assert ended == [("c-get", "completed"), ("c-get", "failed"), ("c-get", "completed")]


def test_warnings_and_failures_of_the_peer_are_counted():
    statuses = {"1.2.0": 0xB000, "1.2.1": 0xA700, "1.2.2": 0xC123}
    *_, end = _get(_instances(4), FakeChannel(EXPLICIT_LITTLE, statuses=statuses))
    counts = end.counts
    assert (end.status, counts.completed, counts.warning, counts.failed) == (0xB000, 1, 1, 2)
    assert _failed(end) == ["1.2.1", "1.2.2"]


def test_when_all_fail_the_operation_has_failed():
    *_, end = _get(_instances(2), FakeChannel())
    assert (end.status, end.counts.failed) == (0xA702, 2)


def test_what_is_to_leave_is_said_before_anything_does():
    channel = FakeChannel(EXPLICIT_LITTLE)
    asked = parse_retrieve(GET, b"")
    steps = _retrievals(_instances(3)).get(GET, asked, channel, _never, MOVER)
    assert next(steps).leaving == {STUDY: 3}
    assert not channel.sent
    steps.close()
    assert not channel.sent
    sub_associations = FakeSubAssociations({})
    moved = QueryRequest(MOVE.message_id, MOVE.sop_class_uid, MOVE.context, MOVE.identifier, "DEST")
    retrievals = _retrievals(_instances(3), sub_associations=sub_associations)
    steps = retrievals.move(moved, parse_retrieve(moved, b""), MOVER, _never)
    assert next(steps).leaving == {STUDY: 3}
    steps.close()
    assert not sub_associations.orders
    assert len(_get([], channel)) == 1, "where nothing leaves, nothing is to be said"


def test_progress_is_told_with_counts_that_add_up():
    steps = _get(_instances(3 * PROGRESS_OBJECTS), FakeChannel(EXPLICIT_LITTLE))
    _, *pending, end = steps
    assert len(pending) >= 2
    for step in pending:
        assert step.completed + step.remaining == 3 * PROGRESS_OBJECTS
        assert step.remaining > 0
    assert isinstance(end, RetrieveEnd)


def test_a_cancelled_get_says_what_remains():
    channel = FakeChannel(EXPLICIT_LITTLE)
    *_, end = _get(_instances(5), channel, cancelled=lambda: len(channel.sent) >= 2)
    assert (end.status, end.counts.completed, end.counts.remaining) == (0xFE00, 2, 3)


def test_what_the_peer_refuses_for_its_encoding_is_sent_in_the_next():
    channel = FakeChannel(EXPLICIT_LITTLE, IMPLICIT_LITTLE, refused={EXPLICIT_LITTLE: 0xC000})
    *_, end = _get(_instances(2), channel)
    assert (end.status, end.counts.completed) == (0, 2)
    assert [syntax for _, syntax, _ in channel.sent] == [EXPLICIT_LITTLE, IMPLICIT_LITTLE] * 2
    # No room is no room in any transfer syntax.
    channel = FakeChannel(EXPLICIT_LITTLE, IMPLICIT_LITTLE, refused={EXPLICIT_LITTLE: 0xA700})
    *_, end = _get(_instances(1), channel)
    assert (end.status, len(channel.sent)) == (0xA702, 1)


def test_a_failed_sub_operation_has_its_reason():
    objects = FakeObjects(undecodable=("1.2.1",))
    *_, end = _get(_instances(3, JPEG), FakeChannel(EXPLICIT_LITTLE), objects)
    assert (end.status, end.comment) == (0xB000, "no decoder")


def test_an_object_that_breaks_off_ends_the_association():
    with pytest.raises(CutShort):
        _get(_instances(3), FakeChannel(EXPLICIT_LITTLE, cut_at="1.2.1"))


def test_a_lost_association_is_no_failed_object():
    with pytest.raises(ConnectionResetError):
        _get(_instances(3), FakeChannel(EXPLICIT_LITTLE, breaks_at="1.2.1"))


def test_a_move_is_in_the_name_of_who_asked():
    steps, sub_associations = _move(_instances(2), {})
    assert steps[-1].status == 0x0000
    ((destination, order),) = sub_associations.orders
    assert destination == NODE
    assert (order.originator_ae, order.message_id, order.parallel) == ("MOVER", MOVE.message_id, 2)


def test_only_configured_nodes_are_destinations():
    with pytest.raises(OperationRefused) as refused:
        _move(_instances(1), {}, to="ELSEWHERE")
    assert refused.value.status == 0xA801


def test_a_move_with_failures_lists_them():
    steps, _ = _move(_instances(3), {"1.2.1": 0xA700})
    assert steps[-1].status == 0xB000
    assert _failed(steps[-1]) == ["1.2.1"]


def test_a_destination_that_is_away_fails_all_and_is_named():
    steps, _ = _move(_instances(2), {"1.2.0": None, "1.2.1": None})
    assert (steps[-1].status, steps[-1].comment) == (0xA702, "away")


def test_a_cancelled_move_counts_what_was_under_way():
    asked = iter([False, False, True])
    steps, sub_associations = _move(_instances(9), {}, cancelled=lambda: next(asked, True))
    end = steps[-1]
    assert end.status == 0xFE00
    assert end.counts.completed + end.counts.remaining == 9
    assert end.counts.remaining > 0
    assert sub_associations.ended
