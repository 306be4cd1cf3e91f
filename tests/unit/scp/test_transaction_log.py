"""The transaction log stays on disk until the broker has it."""

from draw_scp.adapters.transaction_log import TransactionLog
from draw_scp.services.audit import Audit
from draw_shared.dicom.service import Peer, Reject
from support.publishing import FakePublisher, until


def test_the_transaction_log_survives_and_is_removed_after_the_confirm(tmp_path):
    publisher = FakePublisher()
    publisher.connected = False
    log = TransactionLog(tmp_path, publisher, "one")
    audit = Audit(log)
    audit.rejected(Peer("a1", "192.0.2.7", ""), ("CALLER", "DRAW"), Reject(1, 1, 7, "not ours"))
    log.flush()
    assert len(list(tmp_path.glob("*.open"))) == 1, "on disk before anything else"
    again = TransactionLog(tmp_path, publisher, "one")
    publisher.connected = True
    again.start()
    until(lambda: not list(tmp_path.iterdir()))
    again.stop(5)
    [record] = publisher.messages[0].records
    assert (record.calling_ae, record.status, record.kind) == ("CALLER", 7, "rejection")
