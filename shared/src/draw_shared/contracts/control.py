"""Wake-ups on the control fanout; the database row they point at is the truth."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from draw_shared.contracts.envelope import Command


class ControlSubject(StrEnum):
    """What a replica should look at again."""

    CONFIG = "config"
    DESIRED_STATE = "desired_state"
    JOB = "job"
    STORAGE = "storage"
    DELIVERY = "delivery"


class ControlV1(Command):
    """Something that replicas poll for anyway has changed; look now."""

    routing_key: ClassVar[str] = "control.v1"

    subject: ControlSubject
    job_id: UUID | None = None
    freed_bytes: int | None = Field(
        default=None, ge=0, description="with `storage`: size of the objects that were removed"
    )
