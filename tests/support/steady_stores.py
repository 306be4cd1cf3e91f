"""Peers that go on storing whatever happens to the receivers, one short association each time."""

import threading
import time
from dataclasses import dataclass, field

from pydicom.uid import generate_uid

from support import datasets
from support.raw_stores import raw_association

REOPEN_SECONDS = 0.1
GIVE_UP_SECONDS = 30.0
PACE_SECONDS = 0.02


@dataclass
class SteadyStores:
    """Stores small objects over several associations at a time, until told that it is enough.

    An association that cannot be opened is tried again; what goes wrong inside one that was
    opened is kept in `failures`.
    """

    port: int
    least: int
    """How many are stored at least."""
    sources: tuple[str, ...]
    per_association: int = 25
    stored: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    reopened: int = 0
    enough: threading.Event = field(default_factory=threading.Event)
    """Set when nothing more is to happen meanwhile: then they need not pace themselves."""

    def __post_init__(self):
        self._lock = threading.Lock()
        self._begun = 0
        self._threads = [
            threading.Thread(target=self._send_all, args=(source,)) for source in self.sources
        ]

    def start(self):
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float):
        """Return when all was sent."""
        self.enough.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(deadline - time.monotonic())
            assert not thread.is_alive(), "the senders did not come to an end"

    def _send_all(self, source):
        while self._wanted():
            made = datasets.build("MR", PatientID=f"STEADY-{source}")
            given_up = time.monotonic() + GIVE_UP_SECONDS
            while not self._send(made, source):
                self.reopened += 1
                if time.monotonic() > given_up:
                    self.failures.append("no association could be opened any more")
                    return
                time.sleep(REOPEN_SECONDS)

    def _wanted(self):
        with self._lock:
            if self.enough.is_set() and self._begun >= self.least:
                return False
            self._begun += self.per_association
            return True

    def _send(self, made, source) -> bool:
        """Store a series on one association; return False when none was opened."""
        opened = False
        try:
            with raw_association(self.port, made, source=source) as association:
                opened = True
                for number in range(self.per_association):
                    made.SOPInstanceUID = generate_uid()
                    made.InstanceNumber = number + 1
                    status = association.send(made)
                    if status:
                        self.failures.append(f"status 0x{status:04X}")
                    self.stored.append(str(made.SOPInstanceUID))
                    self.enough.wait(PACE_SECONDS)
                association.release()
        # An association that was rejected for the moment ends in an assertion.
        except (AssertionError, OSError) as error:
            if opened:
                self.failures.append(f"{type(error).__name__} in a running association")
        return opened
