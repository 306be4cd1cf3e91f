"""The edge to time: what the worker does each second, with or without a broker."""

from collections.abc import Callable

from draw_qr_worker.services.dispatch import Dispatch


class Tick:
    """Sweeps what is due or lost, then claims while there are free slots."""

    def __init__(
        self,
        dispatch: Dispatch,
        sweep: Callable[[], int],
        *,
        taken_back: Callable[[int], None],
    ) -> None:
        self._dispatch = dispatch
        self._sweep = sweep
        self._taken_back = taken_back

    def on_tick(self) -> None:
        """Do it once.

        Raises:
            Transient: the database does not answer.
        """
        self._taken_back(self._sweep())
        self._dispatch.allow()
        while self._dispatch.take():
            pass
