"""A publisher without a broker."""

import threading
import time


class FakePublisher:
    """Confirms, refuses or holds what it is given."""

    def __init__(self):
        self.connected = True
        self.answer = True
        self.messages = []
        self._lock = threading.Lock()

    def publish(self, message, on_confirm):
        with self._lock:
            self.messages.append(message)
        if self.answer is not None:
            on_confirm(self.answer)


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
