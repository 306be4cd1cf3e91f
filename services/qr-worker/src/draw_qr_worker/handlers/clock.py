"""The edge to time: what the worker does each second, with or without a broker."""

from collections.abc import Callable

from draw_qr_worker.services.dispatch import JobDispatcher


class Tick:
    """Sweeps what is due or lost, then claims while there are free slots and it is wanted."""

    def __init__(
        self,
        dispatch: JobDispatcher,
        sweep: Callable[[], int],
        *,
        taken_back: Callable[[int], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._dispatch = dispatch
        self._sweep = sweep
        self._taken_back = taken_back
        self._wanted = wanted

    def on_tick(self) -> None:
        """Do it once.

        Raises:
            Transient: the database does not answer.
        """
        self._taken_back(self._sweep())
        if not self._wanted():
            self._dispatch.close()
            return
        self._dispatch.allow()
        while self._dispatch.take():
            pass
