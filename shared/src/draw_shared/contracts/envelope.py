"""The base classes of all messages on the broker."""

from typing import ClassVar, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Message(BaseModel):
    """One version of one message; the routing key names both and never changes its meaning.

    A field is never removed or re-typed inside a version: golden files in `tests/contracts`
    must parse for ever. Unknown fields of newer minor writers are ignored when reading.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    routing_key: ClassVar[str]
    joinable: ClassVar[bool] = False
    """Whether several may be sent as one message, one line each."""
    schema_version: int = 1

    def to_bytes(self) -> bytes:
        """Return the JSON body for the wire, in UTF-8."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Return the message in `body`.

        Raises:
            pydantic.ValidationError: the body is not this message; retrying cannot help.
        """
        return cls.model_validate_json(body)


class Event(Message):
    """Something that has happened. Carries identifiers only, no patient data."""

    event_id: UUID
    occurred_at: AwareDatetime


class Command(Message):
    """An instruction to the services that consume it."""
