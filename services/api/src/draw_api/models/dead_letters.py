"""Messages that no consumer could handle, as administrators see them."""

from pydantic import Field

from draw_api.models.paging import Answer


class DeadLetterQueue(Answer):
    """One queue that collects messages that could not be processed."""

    name: str = Field(examples=["indexer.dead"])
    messages: int = Field(description="waiting, as the broker said last")


class DeadLetter(Answer):
    """One message; it holds identifiers only, no patient data."""

    key: str = Field(examples=["6f1c0a9d52b34e8f7a61b2c3"])
    queue: str = Field(examples=["indexer.dead"])
    consumer_queue: str = Field(
        description="where it failed; empty: no queue wanted it", examples=["indexer.transactions"]
    )
    routing_key: str = Field(examples=["transactions.recorded.v1"])
    reason: str = Field(examples=["ValidationError: 1 validation error"])
    body: str
    size_bytes: int


class Settled(Answer):
    """How many messages an action affected."""

    messages: int
