"""Handles operators' orders to stop, start or restart the worker."""

from collections.abc import Callable

from draw_qr_worker.models import Interrupted
from draw_qr_worker.services.dispatch import JobDispatcher
from draw_shared.runtime.desired_state import Wanted
from draw_shared.wording import message


class DesiredStateHandler:
    """Stops, starts and restarts the worker.

    A stop lets running jobs finish; a restart returns them to the queue.
    """

    def __init__(self, dispatch: JobDispatcher, *tell: Callable[[], None]) -> None:
        self._dispatch = dispatch
        self._tell = tell
        self._restarts = 0

    def on_change(self, wanted: Wanted) -> None:
        """Bring the worker into the wanted state."""
        if not wanted.running:
            self._dispatch.close()
        elif wanted.restarts != self._restarts:
            self._dispatch.end_all(Interrupted(message("the worker was restarted by an operator")))
        self._restarts = wanted.restarts
        for listener in self._tell:
            listener()
