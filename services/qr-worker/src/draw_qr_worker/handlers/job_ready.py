"""Handles wake-ups from the broker: acknowledges each one after trying to claim its job.

If every slot is taken or another replica was faster, nothing is lost: the row remains, and every
replica also polls for claimable rows.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from pydantic import ValidationError

from draw_shared.contracts.control import ControlV1
from draw_shared.contracts.job import JobReadyV1
from draw_shared.messaging.consumer import Delivery, Failure


class JobReady:
    """Handles `job.ready.v1`."""

    def __init__(self, take: Callable[[UUID], bool]) -> None:
        self._take = take

    def on_deliveries(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Claim and start each job if a slot is free; returning acknowledges the messages.

        Raises:
            Transient: the database does not answer; the messages are tried again.
        """
        failures = []
        for delivery in deliveries:
            try:
                message = JobReadyV1.from_bytes(delivery.body)
            except ValidationError as error:
                failures.append(Failure(delivery, error))
                continue
            self._take(message.job_id)
        return failures


class JobChanged:
    """Handles `control.v1` for a job: the job may run here and be cancelled now."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def on_control(self, _message: ControlV1) -> None:
        """Check the leases now instead of at the next tick."""
        self._look()
