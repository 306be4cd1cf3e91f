"""A publisher without a broker, and something to publish."""

import threading
from datetime import UTC, datetime

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from draw_shared.contracts.instance import InstanceStoredV1, instance_event_id


class FakePublisher:
    """Confirms, refuses or holds what it is given."""

    def __init__(self):
        self.connected = True
        self.answer = True
        self.messages = []
        self.unanswered = []
        self._lock = threading.Lock()

    def publish(self, message, on_confirm):
        with self._lock:
            self.messages.append(message)
        if self.answer is None:
            self.unanswered.append(on_confirm)
        else:
            on_confirm(self.answer)


def announcement():
    """Return what announces an object that nobody else has."""
    uid, digest = generate_uid(), "ab" * 32
    return InstanceStoredV1(
        event_id=instance_event_id(uid, digest),
        occurred_at=datetime.now(UTC),
        association_id="a1",
        replica="one",
        sop_class_uid=CTImageStorage,
        sop_instance_uid=uid,
        study_instance_uid=generate_uid(),
        series_instance_uid=generate_uid(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        path=f"objects/{uid}.dcm",
        size_bytes=1000,
        content_sha256=digest,
        calling_ae="SENDER",
        called_ae="DRAW",
        peer_address="192.0.2.7",
    )
