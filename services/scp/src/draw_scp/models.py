"""Values of the receiver."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One object as the index knows it; `path` is relative to the storage root."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str


@dataclass(frozen=True, slots=True)
class Destination:
    """A remote node that C-MOVE may send to."""

    ae_title: str
    host: str
    port: int
    calling_ae: str
    """How we call ourselves there; empty is our own AE title."""
    timeout_seconds: float
    tls: bool
    max_associations: int
