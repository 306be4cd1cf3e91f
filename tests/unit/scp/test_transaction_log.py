"""The transaction log stays on disk until the broker has it, and says what it had to give up."""

import contextlib
import json
import resource
import time
from uuid import uuid4

from draw_scp.adapters import transaction_log
from draw_scp.adapters.journal import SEGMENT_BYTES
from draw_scp.adapters.transaction_log import TransactionLog
from draw_scp.models import TransactionLine
from draw_scp.services.audit import AuditService
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.dicom.network.service import Peer, Reject
from draw_shared.storage import spool
from support.publishing import FakePublisher
from support.waiting import wait_until

LINE = TransactionLine(time.time(), TransactionKind.C_STORE, TransactionOutcome.SUCCESS, "a1")


class Recorder:
    """Gives each record its id, as the announcing process does."""

    def __init__(self, log):
        self._log = log

    def record(self, transaction):
        self._log.record(transaction, uuid4())


def opened(folder, publisher, **given):
    publisher.connected = False
    log = TransactionLog(folder, publisher, "one", **given)
    log._journal.start()
    return log


def done(number, first=0):
    return [LINE._replace(association_id=f"a{first + n}") for n in range(number)]


def write(log, transactions):
    for transaction in transactions:
        log.record(transaction, uuid4())
    log.flush()


def published(folder, publisher):
    """Return what another process on this folder publishes, and how many lines are lost."""
    publisher.connected = True
    log = TransactionLog(folder, publisher, "one")
    log.start()
    assert wait_until(lambda: not spool.segments(folder))
    log.stop(5)
    records = [record for message in publisher.messages for record in message.records]
    lost = [record for record in records if record.action == "transactions.lost"]
    return [record.association_id for record in records if record not in lost], lost


@contextlib.contextmanager
def files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_transaction_log_survives_and_is_removed_after_the_confirm(tmp_path):
    publisher = FakePublisher()
    log = opened(tmp_path, publisher)
    audit = AuditService(Recorder(log), None)
    audit.rejected(Peer("a1", "192.0.2.7", ""), ("CALLER", "DRAW"), Reject(1, 1, 7, "not ours"))
    log.flush()
    assert len(list(tmp_path.glob("*.open"))) == 1, "on disk before anything else"
    again = TransactionLog(tmp_path, publisher, "one")
    publisher.connected = True
    again.start()
    assert wait_until(lambda: not list(tmp_path.glob("*.jsonl*")))
    again.stop(5)
    [record] = publisher.messages[0].records
    assert (record.calling_ae, record.status, record.kind) == ("CALLER", 7, "rejection")


def test_a_short_write_is_no_whole_one(tmp_path):
    publisher = FakePublisher()
    log = opened(tmp_path, publisher)
    transactions = done(30)
    with files_of_at_most(1000):
        # The kernel takes the first 1000 bytes of each piece, some lines and a part of one.
        write(log, transactions)
    write(log, [])
    found, lost = published(tmp_path, publisher)
    assert found == [t.association_id for t in transactions]
    assert not lost


def test_what_was_given_up_is_a_line_of_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(transaction_log, "MAX_HELD", 10)
    told, publisher = [], FakePublisher()
    log = opened(tmp_path, publisher, lost=told.append)
    log._journal._reserve.clear()
    transactions = [LINE._replace(occurred_at=LINE.occurred_at + n) for n in range(25)]
    with files_of_at_most(SEGMENT_BYTES - 1):
        write(log, transactions)
    assert sum(told) == 15
    crashed = [json.loads(path.read_text()) for path in tmp_path.glob("*.open")]
    assert [line["objects"] for line in crashed] == [25], "all, if the process ended now"
    write(log, [])
    found, [lost] = published(tmp_path, publisher)
    assert len(found) == 10
    assert (lost.objects, lost.outcome, lost.kind) == (15, "failure", "management")
    assert abs(lost.occurred_at.timestamp() - transactions[-1].occurred_at) < 0.001
    assert lost.detail.startswith("lines lost: 15 between 20")


def test_a_line_that_a_crash_cut_short_is_missed(tmp_path):
    publisher = FakePublisher()
    log = opened(tmp_path, publisher)
    write(log, done(3))
    [piece] = tmp_path.glob("*.open")
    raw = piece.read_bytes().rstrip(b"\0")
    piece.write_bytes(raw[:-7].ljust(SEGMENT_BYTES, b"\0"))
    found, lost = published(tmp_path, publisher)
    assert found == ["a0", "a1"]
    assert [line.objects for line in lost] == [1]
