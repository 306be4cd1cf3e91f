"""C-STORE sub-operations on the association that asked with C-GET, and how progress is told."""

from collections.abc import Callable

from draw_shared.dicom.network import message
from draw_shared.dicom.network.message import CommandElement, CommandSet
from draw_shared.dicom.network.service import AssociationInfo, RetrieveEnd, Sendable, SubOperations
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.network.store_writer import StoreWriter


class SubOperationChannel:
    """The association itself as the way back for C-GET sub-operations."""

    def __init__(
        self, info: AssociationInfo, writer: StoreWriter, answered: Callable[[], int]
    ) -> None:
        self._writer = writer
        self._answered = answered
        self._contexts: dict[tuple[str, str], int] = {}
        roles = info.roles
        for context in info.contexts.values():
            granted = roles.get(context.abstract_syntax)
            if granted is not None and granted.scp:
                key = context.abstract_syntax, context.transfer_syntax
                self._contexts[key] = context.context_id

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int | None:
        return self._contexts.get((sop_class_uid, transfer_syntax_uid))

    def store(
        self,
        data: Sendable,
        context_id: int,
        sop: tuple[str, str],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        self._writer.write(data, context_id, sop)
        meanwhile()
        return self._answered()


def progress(
    request: CommandSet, operation: int, counts: SubOperations, end: RetrieveEnd | None = None
) -> bytes:
    """Return a C-GET or C-MOVE response with its counts (PS3.7 9.3.3.2, 9.3.4.2)."""
    status = DimseStatus.PENDING if end is None else end.status
    has_identifier = end is not None and bool(end.identifier)
    fields: dict[CommandElement, int | str | bytes] = {
        CommandElement.AFFECTED_SOP_CLASS: request.get(CommandElement.AFFECTED_SOP_CLASS, b""),
        CommandElement.COMMAND: operation | message.RESPONSE,
        CommandElement.RESPONDED_MESSAGE_ID: request.number(CommandElement.MESSAGE_ID),
        CommandElement.DATA_SET_TYPE: message.DATA_SET if has_identifier else message.NO_DATA_SET,
        CommandElement.STATUS: status,
        CommandElement.COMPLETED: counts.completed,
        CommandElement.FAILED: counts.failed,
        CommandElement.WARNING: counts.warning,
    }
    if end is None or status == DimseStatus.CANCELLED:
        # Only pending and cancelled responses may say what remains (PS3.4 C.4.2.1.6).
        fields[CommandElement.REMAINING] = counts.remaining
    if end is not None and end.comment:
        fields[CommandElement.ERROR_COMMENT] = end.comment[:64]
    return message.encode(fields)
