"""Passes the data set of one C-STORE to its sink, or drops it after a refusal."""

from collections.abc import Callable

from draw_shared.dicom.network.service import ObjectSink, OperationRefused

Take = Callable[[memoryview], None]


def take_in(begin: Callable[[], ObjectSink], read: Callable[[Take], None]) -> tuple[int, str]:
    """Receive one data set, and return the status and comment of the answer.

    `read` reads the data set to its end, even if `begin` or the sink has refused it. If it fails
    in the middle, the sink has abandoned the object.
    """
    intake = _Intake()
    try:
        intake.sink = begin()
    except OperationRefused as refused:
        intake.refusal = refused
    try:
        read(intake.take)
        return intake.finish()
    except BaseException:
        intake.give_up()
        raise


class _Intake:
    """Passes fragments to a sink until it refuses, and determines the answer."""

    def __init__(self) -> None:
        self.sink: ObjectSink | None = None
        self.refusal: OperationRefused | None = None

    def take(self, part: memoryview) -> None:
        """Pass one fragment to the sink, or drop it."""
        if self.sink is None:
            return
        try:
            self.sink.write(part)
        except OperationRefused as refused:
            self.refusal = refused
            self.give_up()

    def finish(self) -> tuple[int, str]:
        """Make the object durable, and return the status and comment of the answer."""
        if self.sink is not None:
            try:
                return self.sink.commit(), ""
            except OperationRefused as refused:
                self.refusal = refused
        if self.refusal is None:
            raise RuntimeError("a data set was neither taken nor refused")
        return self.refusal.status, self.refusal.comment

    def give_up(self) -> None:
        """Have the sink abandon the object."""
        if self.sink is not None:
            self.sink.abandon()
            self.sink = None
