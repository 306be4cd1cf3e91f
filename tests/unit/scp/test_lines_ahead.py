"""Lines that are on disk before what they tell of happens; full disks by a limit of file sizes."""

import contextlib
import resource
from datetime import UTC, datetime

import pytest

from draw_scp.adapters.journal import MAX_LINES, SEGMENT_BYTES, whole_lines
from draw_scp.adapters.lines_ahead import RESERVE_BYTES, LinesAhead
from draw_scp.adapters.transaction_log import TransactionLog
from draw_scp.models import NotOnRecord
from draw_scp.services.audit import AuditService
from draw_shared.contracts.transaction import (
    RETRIEVE_BEGUN,
    TransactionKind,
    TransactionRecord,
)
from draw_shared.dicom.network.service import AssociationInfo
from draw_shared.storage import spool
from support.publishing import FakePublisher
from support.waiting import wait_until

pytestmark = pytest.mark.security

INFO = AssociationInfo("a1", "ASKING", "DRAW", "192.0.2.7", "", datetime.now(UTC), {}, 0, "")


class Nothing:
    """Takes no records."""

    def record(self, transaction):
        raise AssertionError(transaction)


def begin(ahead, leaving, kind=TransactionKind.C_GET, destination=""):
    AuditService(Nothing(), ahead).begun(INFO, kind, leaving, destination)


def written(folder, pattern="*.ahead"):
    lines = [line for path in folder.glob(pattern) for line in whole_lines(path.read_bytes())[0]]
    return [TransactionRecord.model_validate_json(line) for line in lines]


def test_one_line_for_each_study_is_on_disk_when_it_is_kept(tmp_path):
    ahead = LinesAhead(tmp_path, "one")
    ahead._journal.start()
    begin(ahead, {"1.2": 3, "1.3": 1}, TransactionKind.C_MOVE, "DEST")
    first, second = written(tmp_path)
    assert (first.kind, first.action, first.status) == ("c-move", RETRIEVE_BEGUN, 0xFF00)
    assert (first.study_instance_uid, first.detail) == ("1.2", "begun: 3 objects to DEST")
    assert (second.study_instance_uid, second.detail) == ("1.3", "begun: 1 objects to DEST")
    assert first.association_id == second.association_id == "a1"
    begin(ahead, {"1.4": 2})
    assert written(tmp_path)[-1].detail == "begun: 2 objects to ASKING"


def test_what_a_kill_left_is_published_after_the_next_start_and_what_is_written_then_too(tmp_path):
    left = LinesAhead(tmp_path, "one")
    left._journal.start()
    begin(left, {"1.2": 1})
    publisher = FakePublisher()
    publisher.connected = True
    log = TransactionLog(tmp_path, publisher, "one")
    log.start()
    ahead = LinesAhead(tmp_path, "one")
    ahead.start()
    begin(ahead, {"1.3": 1})

    def told():
        records = [record for message in publisher.messages for record in message.records]
        return sorted(record.study_instance_uid for record in records)

    assert wait_until(lambda: told() == ["1.2", "1.3"])
    ahead.stop(5)
    log.stop(5)
    assert told() == ["1.2", "1.3"], "each once"
    assert not written(tmp_path)


def test_the_announcing_process_leaves_alone_what_is_being_written(tmp_path):
    ahead = LinesAhead(tmp_path, "one")
    ahead._journal.start()
    begin(ahead, {"1.2": 1})
    log = TransactionLog(tmp_path, FakePublisher(), "one")
    log._journal.start()
    begin(ahead, {"1.3": 1})
    assert [one.study_instance_uid for one in written(tmp_path)] == ["1.2", "1.3"]
    assert not spool.segments(tmp_path)


@contextlib.contextmanager
def no_new_segment():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SEGMENT_BYTES - 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_takes_lines_into_its_reserve_and_then_nothing_may_be_sent(tmp_path):
    ahead = LinesAhead(tmp_path, "one")
    ahead._journal.start()
    room = RESERVE_BYTES // SEGMENT_BYTES * MAX_LINES
    with no_new_segment():
        begin(ahead, {f"1.{number}": 1 for number in range(room)})
        with pytest.raises(NotOnRecord):
            begin(ahead, {"1.2": 1})
    begin(ahead, {"1.2": 1})
    assert len(written(tmp_path) + written(tmp_path, "*.jsonl")) == room + 1
