"""Commands that wake the workers."""

from typing import ClassVar
from uuid import UUID

from draw_shared.contracts.envelope import Command


class JobReadyV1(Command):
    """A job may be claimed; its row in `jobs` says everything else."""

    routing_key: ClassVar[str] = "job.ready.v1"

    job_id: UUID
