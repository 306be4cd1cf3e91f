"""What the receiver and its processes say to each other through their pipes.

Pickled, and only ever between processes of one release on one machine.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from draw_scp.models import Lost, TransactionLine
from draw_scp.ports.operations import Result
from draw_shared.dicom.network.limits import AssociationLimits
from draw_shared.dicom.network.placement import AssociationEnd
from draw_shared.dicom.network.service import AssociationInfo
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import Stored
from draw_shared.storage.reception import FilingRules


@dataclass(frozen=True, slots=True)
class AnnouncerConfig:
    """What of the configuration in force concerns what is done after the answer."""

    layout: Layout
    log_received: bool
    """Whether each object that was received is a line in the log."""
    log_level: str


WITH_OBJECTS: Final = b"\1"
WITHOUT_OBJECTS: Final = b"\0"
"""First byte of what the receiver hands over, before the pickle: whether a burst goes on."""


class Batch(NamedTuple):
    """Lines of the audit trail that are handed over together, again if it is not known to end."""

    id: UUID
    transactions: list[TransactionLine]


class AnnouncerBatch(NamedTuple):
    """What the receiver hands to the announcer at a time."""

    announcer_config: AnnouncerConfig
    stored: list[Stored]
    batches: list[Batch]
    lost: Lost | None
    """Lines that the receiver could not keep until now."""
    overlooked: bool
    """Whether there are entries in the spool folder that were never handed over."""
    finish_seconds: float | None
    """That there will be no more, and how long the announcer may take for what it has."""


class AnnouncerStatus(NamedTuple):
    """What the announcer tells the receiver, several times a second."""

    connected: bool
    """Whether it reaches the broker."""
    objects: int = 0
    """Confirmed by the broker since it last told."""
    recorded: UUID | None = None
    """The last batch of the audit trail that it answers for."""
    lines_lost: int = 0
    """Of the audit trail, since it last told."""
    reserve_bytes: int = 0
    """Room on the disk that it keeps for the audit trail."""


class ReceivingConfig(NamedTuple):
    """What the receiver tells its receiving processes, whenever it changes."""

    rules: FilingRules
    c_store: bool
    """Whether C-STORE is switched on."""
    log_level: str
    used_bytes: int
    """What the storage holds, as far as the receiver knows."""


class AssociationHandover(NamedTuple):
    """An accepted association for a receiving process; the connection's descriptor follows."""

    info: AssociationInfo
    limits: AssociationLimits


class ReceivingReady(NamedTuple):
    """First word of a receiving process: it takes associations."""

    writer: str
    """Part of the names of all files that it makes in the spool folder."""


class ObjectStored(NamedTuple):
    """A receiving process has made an object durable: it is to be announced."""

    stored: Stored


class OperationReport(NamedTuple):
    """What became of an operation in a receiving process."""

    association_id: str
    result: Result


class AssociationEnded(NamedTuple):
    """An association that was handed over has ended."""

    association_id: str
    ending: AssociationEnd


Report = ReceivingReady | ObjectStored | OperationReport | AssociationEnded
"""What a receiving process tells the receiver, in the order in which it happened."""
