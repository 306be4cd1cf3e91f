"""The edge to the broker: a wake-up is acknowledged as soon as its job is claimed or not.

When every slot is taken, or another replica was faster, nothing is lost: the row stays, and
every replica looks for claimable rows by itself.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from pydantic import ValidationError

from draw_shared.contracts.control import ControlV1
from draw_shared.contracts.job import JobReadyV1
from draw_shared.messaging.consumer import Delivery, Failure


class JobReady:
    """Answers `job.ready.v1`."""

    def __init__(self, take: Callable[[UUID], bool]) -> None:
        self._take = take

    def on_deliveries(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Claim and start each job if there is a free slot; returning acknowledges.

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
    """Answers `control.v1` about a job: it may be one of ours that shall be cancelled."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def on_control(self, _message: ControlV1) -> None:
        """Have the leases looked at now instead of in a second."""
        self._look()
