"""Makes pynetdicom 3.0.4 a client that takes every answer.

Between two requests its own thread reads as well. It says that it is paused before it is,
and so may take the answer to the next request, about one in 300 of a fast server. Here
whoever pauses it waits until it really stands still.
"""

import threading
import time
from typing import Any, Final

from pynetdicom.association import Association

LONGEST_PASS_SECONDS: Final = 5.0


class Checkpoint:
    """Where the thread of an association waits, with the methods of `threading.Event`."""

    def __init__(self, association: Association) -> None:
        self._association = association
        self._changed = threading.Condition()
        self._open = True
        self._stands = False

    def wait(self) -> None:
        """Stand still until it is open."""
        with self._changed:
            while not self._open:
                self._stands = True
                self._changed.notify_all()
                self._changed.wait()

    def set(self) -> None:
        """Open it."""
        with self._changed:
            self._open, self._stands = True, False
            self._changed.notify_all()

    def clear(self) -> None:
        """Close it; return once the thread of the association stands still or has ended."""
        with self._changed:
            self._open = False
            if threading.current_thread() is not self._association:
                deadline = time.monotonic() + LONGEST_PASS_SECONDS
                # A thread that ends tells nobody.
                while not self._still() and time.monotonic() < deadline:
                    self._changed.wait(0.05)

    def _still(self) -> bool:
        return self._stands or not self._association.is_alive()


def install() -> None:
    """Have every association of this process use it."""
    made = Association.__init__

    def begin(self: Association, *given: Any, **named: Any) -> None:  # noqa: ANN401 - handed on
        made(self, *given, **named)
        self._reactor_checkpoint = Checkpoint(self)  # type: ignore[assignment]  # its methods

    Association.__init__ = begin  # type: ignore[method-assign]
