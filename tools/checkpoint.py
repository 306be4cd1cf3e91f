"""Patches pynetdicom 3.0.4 so that a client receives every answer.

Between two requests the association's own thread also reads. It reports that it is paused before
it is, and so may take the answer to the next request: about one in 300 from a fast server. With
this patch, pausing waits until the thread really stands still.
"""

import threading
import time
from typing import Any, Final

from pynetdicom.association import Association

MAX_PASS_SECONDS: Final = 5.0


class Checkpoint:
    """The point where an association's thread waits, with the methods of `threading.Event`."""

    def __init__(self, association: Association) -> None:
        self._association = association
        self._changed = threading.Condition()
        self._open = True
        self._stands = False

    def wait(self) -> None:
        """Wait until the checkpoint is open."""
        with self._changed:
            while not self._open:
                self._stands = True
                self._changed.notify_all()
                self._changed.wait()

    def set(self) -> None:
        """Open the checkpoint."""
        with self._changed:
            self._open, self._stands = True, False
            self._changed.notify_all()

    def clear(self) -> None:
        """Close the checkpoint; return once the association's thread stands still or has ended."""
        with self._changed:
            self._open = False
            if threading.current_thread() is not self._association:
                deadline = time.monotonic() + MAX_PASS_SECONDS
                # The end of a thread sends no notification, so poll for it.
                while not self._still() and time.monotonic() < deadline:
                    self._changed.wait(0.05)

    def _still(self) -> bool:
        return self._stands or not self._association.is_alive()


def install() -> None:
    """Make every association of this process use a checkpoint."""
    made = Association.__init__

    def begin(self: Association, *given: Any, **named: Any) -> None:  # noqa: ANN401 - handed on
        made(self, *given, **named)
        self._reactor_checkpoint = Checkpoint(self)  # type: ignore[assignment]  # its methods

    Association.__init__ = begin  # type: ignore[method-assign]
