"""Messages between the receiver and its child processes.

They are pickled: both ends are always of the same release, on the same machine.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from draw_scp.models import LostLines, TransactionLine
from draw_scp.ports.operations import Result
from draw_shared.dicom.network.limits import AssociationLimits
from draw_shared.dicom.network.placement import AssociationEnd
from draw_shared.dicom.network.service import AssociationInfo
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import Stored
from draw_shared.storage.reception import FilingRules


@dataclass(frozen=True, slots=True)
class AnnouncerConfig:
    """The part of the configuration that concerns work after the answer."""

    layout: Layout
    log_received: bool
    """Whether each received object is logged."""
    log_level: str


WITH_OBJECTS: Final = b"\1"
WITHOUT_OBJECTS: Final = b"\0"
"""First byte of a message, before the pickle: whether a burst of objects goes on."""


class Batch(NamedTuple):
    """Audit lines that are sent together, and again unless they are reported as written."""

    id: UUID
    transactions: list[TransactionLine]


class AnnouncerBatch(NamedTuple):
    """One message from the receiver to the announcer."""

    announcer_config: AnnouncerConfig
    stored: list[Stored]
    batches: list[Batch]
    lost: LostLines | None
    """Lines that the receiver has lost since the last message."""
    overlooked: bool
    """Whether the spool folder has entries that were never sent."""
    finish_seconds: float | None
    """Set in the last message: how long the announcer may take for the rest."""


class AnnouncerStatus(NamedTuple):
    """What the announcer reports to the receiver, several times a second."""

    connected: bool
    """Whether it is connected to the broker."""
    objects: int = 0
    """Confirmed by the broker since the last report."""
    recorded: UUID | None = None
    """The last batch of audit lines that it is responsible for now."""
    lines_lost: int = 0
    """Audit lines lost since the last report."""
    reserve_bytes: int = 0
    """Disk space that it has reserved for the audit trail."""


class ReceivingConfig(NamedTuple):
    """What the receiver sends to its receiving processes, whenever it changes."""

    rules: FilingRules
    c_store: bool
    """Whether C-STORE is switched on."""
    log_level: str
    used_bytes: int
    """How many bytes the storage holds, as far as the receiver knows."""


class AssociationHandover(NamedTuple):
    """An accepted association for a receiving process; the socket's descriptor follows."""

    info: AssociationInfo
    limits: AssociationLimits


class ReceivingReady(NamedTuple):
    """First report of a receiving process: it can take associations."""

    writer: str
    """Part of the names of all files that the process creates in the spool folder."""


class ObjectStored(NamedTuple):
    """A receiving process has made an object durable; it is to be announced."""

    stored: Stored


class OperationReport(NamedTuple):
    """The outcome of an operation in a receiving process."""

    association_id: str
    result: Result


class AssociationEnded(NamedTuple):
    """An association that was handed over has ended."""

    association_id: str
    ending: AssociationEnd


Report = ReceivingReady | ObjectStored | OperationReport | AssociationEnded
"""What a receiving process reports to the receiver, in the order in which it happened."""
