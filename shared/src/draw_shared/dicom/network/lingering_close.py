"""Closes rejected connections after their peers have read the reason, on one thread for all."""

import resource
import selectors
import socket
import threading
import time
from typing import Final

LINGER_TIMEOUT_SECONDS: Final = 2.0
MAX_LINGERING: Final = 2048
POLL_INTERVAL_SECONDS: Final = 0.1


class LingeringClose:
    """Keeps rejected connections open until the peer has read the reason."""

    def __init__(self) -> None:
        # A quarter of the descriptors: files of running transfers need the rest.
        self._most = min(MAX_LINGERING, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._selector = selectors.DefaultSelector()
        self._deadlines: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dicom-lingering-close", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Close the connections that are still open."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(2)

    def say(self, connected: socket.socket, answer: bytes) -> None:
        """Send `answer` and close the connection once the peer has had time to read it."""
        try:
            connected.setblocking(False)
            connected.send(answer)
            connected.shutdown(socket.SHUT_WR)
        except OSError:
            connected.close()
            return
        with self._lock:
            if len(self._deadlines) >= self._most:
                connected.close()
                return
            self._deadlines[connected] = time.monotonic() + LINGER_TIMEOUT_SECONDS
            self._selector.register(connected, selectors.EVENT_READ)

    def _run(self) -> None:
        while not self._stopped.is_set():
            for key, _ in self._selector.select(POLL_INTERVAL_SECONDS):
                self._drain(key.fileobj)  # type: ignore[arg-type]  # only sockets are registered
            now = time.monotonic()
            for late in [s for s, deadline in list(self._deadlines.items()) if deadline < now]:
                self._drop(late)
        for left in list(self._deadlines):
            self._drop(left)
        self._selector.close()

    def _drain(self, connected: socket.socket) -> None:
        try:
            ended = not connected.recv(65536)
        except OSError:
            ended = True
        if ended:
            self._drop(connected)

    def _drop(self, connected: socket.socket) -> None:
        with self._lock:
            if self._deadlines.pop(connected, None) is not None:
                self._selector.unregister(connected)
        connected.close()
