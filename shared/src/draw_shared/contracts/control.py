"""Wake-ups on the control fanout; the database row they point at is the truth."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from draw_shared.contracts.envelope import Command


class ControlSubject(StrEnum):
    """What a replica should look at again."""

    CONFIG = "config"
    DESIRED_STATE = "desired_state"
    JOB = "job"


class ControlV1(Command):
    """Something that replicas poll for anyway has changed; look now."""

    routing_key: ClassVar[str] = "control.v1"

    subject: ControlSubject
    job_id: UUID | None = None
