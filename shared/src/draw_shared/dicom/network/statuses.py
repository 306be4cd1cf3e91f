"""DIMSE status codes (PS3.7 annex C, PS3.4 B.2.3, C.4)."""

from enum import IntEnum
from typing import Final


class DimseStatus(IntEnum):
    """Statuses that the suite sends, or distinguishes when peers send them."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    PROCESSING_FAILURE = 0x0110
    INVALID_SOP_INSTANCE = 0x0117
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    NOT_AUTHORIZED = 0x0124
    OUT_OF_RESOURCES = 0xA700
    UNABLE_TO_COUNT_MATCHES = 0xA701
    UNABLE_TO_PERFORM_SUB_OPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_DOES_NOT_MATCH = 0xA900
    STUDY_DOES_NOT_MATCH = 0xA901
    SUB_OPERATIONS_WITH_FAILURES = 0xB000
    CANNOT_UNDERSTAND = 0xC000
    TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122
    CANCELLED = 0xFE00
    PENDING = 0xFF00
    PENDING_WITHOUT_OPTIONAL_KEYS = 0xFF01


PENDING: Final = frozenset({DimseStatus.PENDING, DimseStatus.PENDING_WITHOUT_OPTIONAL_KEYS})


ANSWERED: Final = frozenset(DimseStatus) - {
    DimseStatus.PROCESSING_FAILURE,
    DimseStatus.MISTYPED_ARGUMENT,
    DimseStatus.STUDY_DOES_NOT_MATCH,
    DimseStatus.TRANSFER_SYNTAX_NOT_SUPPORTED,
}
"""Statuses that the receiver answers; only requests over HTTP name a study, and do not negotiate
(PS3.18 I.2.2)."""


def is_warning(status: int) -> bool:
    """Return whether a status is a warning: the operation succeeded with a remark (PS3.7 C.3)."""
    return status in {0x0001, 0x0107, 0x0116} or status >> 12 == 0xB  # noqa: PLR2004 - PS3.7 C.3


def is_success(status: int) -> bool:
    """Return whether a status is success or a warning, so that the peer has the object."""
    return status == DimseStatus.SUCCESS or is_warning(status)


def is_of_encoding(status: int) -> bool:
    """Return whether a failed C-STORE may succeed in another transfer syntax.

    True for errors of the data set or of processing it (PS3.4 B.2.3), not for lack of space or
    permission.
    """
    named = {DimseStatus.PROCESSING_FAILURE, DimseStatus.SOP_CLASS_NOT_SUPPORTED}
    return status in named or status >> 8 == 0xA9 or status >> 12 == 0xC  # noqa: PLR2004


def describe(status: int) -> str:
    """Return a status in the form that operators read: its name and number."""
    try:
        name = DimseStatus(status).name.replace("_", " ").capitalize()
    except ValueError:
        name = "Warning" if is_warning(status) else "Failure"
    return f"{name} (0x{status:04X})"
