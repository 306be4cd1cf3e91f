"""Events about received objects, series and studies."""

from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Final
from uuid import UUID, uuid5

from pydantic import Field, ValidationError

from draw_shared.contracts.envelope import Event
from draw_shared.contracts.identifiers import AeTitle, Sha256, Uid

REMEMBERED: Final = 4096
"""Number of cached identifiers; an object is announced and logged soon after reception."""
WITHHELD: Final = "objects/.sealed"
"""A path that no object can have, because its parts never begin with a full stop."""
INSTANCE_NAMESPACE: Final = UUID("5d0bbd6e-5a3c-5c63-9e52-7f6d6c3ad9d5")


class CompletionReason(StrEnum):
    """Why a series or study counts as complete."""

    ASSOCIATION_ENDED = "association_ended"
    """Every association that brought objects of it was released, and all of them are indexed."""
    QUIET = "quiet"
    """Nothing of it has come for the quiet period."""
    PROVED = "proved"
    """A retrieve job has brought everything that the node has of it."""


@lru_cache(REMEMBERED)
def instance_event_id(sop_instance_uid: str, content_sha256: str) -> UUID:
    """Return the identifier of an object with these bytes; every process computes the same one."""
    return uuid5(INSTANCE_NAMESPACE, f"{sop_instance_uid}:{content_sha256}")


class InstanceStoredV1(Event):
    """One object is durable on disk; the index may not know it yet."""

    routing_key: ClassVar[str] = "instance.stored.v1"
    joinable: ClassVar[bool] = True

    association_id: str
    association_ordinal: int | None = Field(
        default=None,
        ge=1,
        lt=2**31 - 1,
        description="place among the objects stored by the association, from 1; null: not counted",
    )
    replica: str
    sop_class_uid: Uid
    sop_instance_uid: Uid
    study_instance_uid: Uid
    series_instance_uid: Uid
    transfer_syntax_uid: Uid
    path: str = Field(description="POSIX path of the file, relative to the storage root")
    size_bytes: int = Field(ge=0, description="size of the Part 10 file")
    content_sha256: Sha256
    calling_ae: AeTitle
    called_ae: AeTitle
    peer_address: str
    move_originator_ae: AeTitle | None = None
    move_originator_message_id: int | None = Field(default=None, ge=0, le=65535)
    dated_ns: int = Field(
        default=0,
        ge=0,
        description="time of modification with which it was received, by the volume's clock in"
        " nanoseconds since 1970; 0: as its file says",
    )
    reread: bool = Field(
        default=False, description="the index has the object; what it says is to be read anew"
    )


class InstanceStoredV2(InstanceStoredV1):
    """One object is durable on disk; only processes with the storage volume can open its path."""

    routing_key: ClassVar[str] = "instance.stored.v2"

    schema_version: int = 2
    path: str = Field(
        default=WITHHELD,
        description="nothing lies there: for readers of version 1, which try again later",
    )
    place: str = Field(
        description="the path, sealed with the key that lies on the volume: Base64url of AES-SIV"
        " (RFC 5297), with `sop_instance_uid` and `content_sha256` as associated data"
    )


def instance_stored(body: bytes) -> InstanceStoredV1:
    """Return the announcement in a body, of either version.

    Raises:
        pydantic.ValidationError: the body is not an announcement; retrying cannot help.
    """
    try:
        return InstanceStoredV2.from_bytes(body)
    except ValidationError:
        return InstanceStoredV1.from_bytes(body)


class SeriesStableV1(Event):
    """A series is complete, or complete again after it has grown."""

    routing_key: ClassVar[str] = "series.stable.v1"

    study_instance_uid: Uid
    series_instance_uid: Uid
    instances: int = Field(ge=0)
    new_instances: int = Field(
        default=0, ge=0, description="objects that have come since it was complete the last time"
    )
    reason: CompletionReason = CompletionReason.QUIET


class StudyStableV1(Event):
    """A study is complete, or complete again after it has grown."""

    routing_key: ClassVar[str] = "study.stable.v1"

    study_instance_uid: Uid
    series: int = Field(ge=0)
    instances: int = Field(ge=0)
    new_instances: int = Field(
        default=0, ge=0, description="objects that have come since it was complete the last time"
    )
    reason: CompletionReason = CompletionReason.QUIET
