"""The receiver as a process: who is not on the list of AE titles reads nothing.

Not covered: what the page does about it (tests/integration/api/test_peers.py).
"""

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from draw_shared.contracts.config_snapshot import AllowedPeer
from draw_shared.dicom.network.associate import Roles
from draw_shared.dicom.network.rights import Right
from support.datasets import build
from support.raw_stores import raw_association, rejection
from support.receiver_process import ReceiverProcess
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.security]

FIND = StudyRootQueryRetrieveInformationModelFind
MOVE = StudyRootQueryRetrieveInformationModelMove
GET = PatientRootQueryRetrieveInformationModelGet
NOT_AUTHORIZED, INDEX_AWAY = 0x0124, 0xA700
USER_REJECTION = 1


class Receiver:
    """A receiver whose list a test changes."""

    def __init__(self, folder):
        self.process = ReceiverProcess(folder, DRAW_SCP_LOOPBACK_READS="false")
        self.version = 0

    def list(self, *peers):
        """Have these AE titles on the list, and return once the receiver knows."""
        self.version += 1
        self.process.configure(version=self.version, listed=peers)
        if self.version > 1:
            seen = "draw_service_config_version"
            assert wait_until(lambda: self.process.metric(seen) == self.version, 60)

    def associate(self, *classes, calling="READER"):
        client = AE(calling)
        client.acse_timeout = client.dimse_timeout = client.network_timeout = 60
        contexts = [build_context(one) for one in classes]
        return client.associate("127.0.0.1", self.process.port, contexts=contexts)

    def denied(self):
        """Return why somebody was denied something, in the order in which it happened."""
        return [line["reason"] for line in self.process.lines("association.denied")]


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    made = Receiver(tmp_path_factory.mktemp("rights"))
    made.list(AllowedPeer("READER"))
    made.process.start()
    yield made
    made.process.stop()


def keys(**more):
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = "1.2.3"
    for name, value in more.items():
        setattr(asked, name, value)
    return asked


def status_of(responses):
    return [status.Status for status, _ in responses][-1]


@pytest.mark.parametrize("model", [FIND, MOVE, GET])
def test_who_is_not_on_the_list_is_rejected_when_he_only_wants_to_read(receiver, model):
    assert rejection(receiver.process.port, sop_class=str(model)) == (1, 1, 3)


def test_who_is_not_on_the_list_verifies_and_stores(receiver):
    made = receiver.associate(Verification, CTImageStorage, FIND, calling="NOBODY")
    assert made.send_c_echo().Status == 0
    assert made.send_c_store(build()).Status == 0
    [refused] = made.rejected_contexts
    assert (refused.abstract_syntax, refused.result) == (FIND, USER_REJECTION)
    made.release()
    words = "no right to query: the AE title is not on the list"
    assert wait_until(lambda: words in receiver.denied(), 60)


def test_a_right_that_is_taken_away_ends_with_the_operation_under_way(receiver):
    receiver.list(AllowedPeer("READER"))
    made = receiver.associate(FIND, MOVE)
    assert status_of(made.send_c_find(keys(), FIND)) == INDEX_AWAY
    receiver.list(AllowedPeer("READER", rights=(Right.MOVE,)))
    [answer] = [status for status, _ in made.send_c_find(keys(), FIND)]
    assert answer.Status == NOT_AUTHORIZED
    assert answer.ErrorComment == "no right to query: the AE title is on the list"
    receiver.list()
    assert status_of(made.send_c_move(keys(), "STORE_1", MOVE)) == NOT_AUTHORIZED
    made.release()


def test_objects_are_moved_only_to_where_the_list_says(receiver):
    receiver.list(AllowedPeer("READER", move_destinations=("STORE_1",)))
    made = receiver.associate(MOVE)
    # The index is away: it is asked only for whom may have it moved there.
    assert status_of(made.send_c_move(keys(), "STORE_1", MOVE)) == 0xA701
    assert status_of(made.send_c_move(keys(), "STORE_2", MOVE)) == NOT_AUTHORIZED
    made.release()
    words = "no right to move to STORE_2 (0x0124)"
    assert wait_until(lambda: words in receiver.denied(), 60)


def test_a_context_for_c_get_s_way_back_takes_no_object(receiver):
    receiver.list(AllowedPeer("RAW", rights=(Right.RETRIEVE,)))
    made = build()
    way_back = Roles(scu=True, scp=True)
    with raw_association(receiver.process.port, made, roles=way_back) as sender:
        assert sender.answer(made) == (NOT_AUTHORIZED, "no right to store")
