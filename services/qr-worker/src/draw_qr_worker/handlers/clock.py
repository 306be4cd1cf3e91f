"""The worker's timer: runs every second, with or without a broker."""

from collections.abc import Callable

from draw_qr_worker.services.dispatch import JobDispatcher


class Tick:
    """Sweeps due and lost jobs, then claims jobs while slots are free and the worker is wanted."""

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
        """Sweep once and claim.

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
