"""The edge to the broker: a wake-up is acknowledged as soon as its job is claimed or not.

When every slot is taken, or another replica was faster, nothing is lost: the row stays, and
every replica looks for claimable rows by itself.
"""

from collections.abc import Callable
from uuid import UUID

from draw_shared.contracts.job import JobReadyV1


class JobReady:
    """Answers `job.ready.v1`."""

    def __init__(self, take: Callable[[UUID], bool]) -> None:
        self._take = take

    def on_job_ready(self, message: JobReadyV1) -> None:
        """Claim and start the job if there is a free slot; returning acknowledges.

        Raises:
            Transient: the database does not answer; the message is tried again.
        """
        self._take(message.job_id)
