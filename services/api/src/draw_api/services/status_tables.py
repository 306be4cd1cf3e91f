"""Tables of the receiver's DIMSE statuses for the conformance statement."""

from typing import Final

STORE_STATUSES: Final = (
    ("0x0000", "Success", "the object is on stable storage"),
    (
        "0xA700",
        "Refused: out of resources",
        "storage limit reached (quota or free space), the disk is full, or a failure of ours",
    ),
    ("0xA900", "Error: data set does not match SOP class", "it is of another class or instance"),
    (
        "0xC000",
        "Error: cannot understand",
        "it cannot be decoded, or lacks identifiers: SOP class and instance, study, series",
    ),
    ("0x0117", "Invalid SOP instance", "the SOP Instance UID is malformed"),
    (
        "0x0122",
        "SOP class not supported",
        "not that of the presentation context, or C-STORE is off",
    ),
    ("0x0124", "Refused: not authorized", "the AE title has no right to store"),
)
OTHER_CLASS: Final = (
    "0x0122",
    "SOP class not supported",
    "not that of the presentation context, or not offered",
)
WITHOUT_RIGHT: Final = (
    "0x0124",
    "Refused: not authorized",
    "the AE title has no right to this, or not any more; the error comment says why",
)
FIND_STATUSES: Final = (
    ("0xFF00", "Pending", "a match; all optional keys are supported"),
    ("0xFF01", "Pending", "a match; some optional keys are not supported"),
    ("0x0000", "Success", "all matches were sent"),
    (
        "0xA700",
        "Refused: out of resources",
        "the index does not answer, or there are more matches than the limit",
    ),
    ("0xA900", "Error: identifier does not match SOP class", "level or unique keys are wrong"),
    ("0xC000", "Unable to process", "the identifier cannot be understood"),
    OTHER_CLASS,
    WITHOUT_RIGHT,
    ("0xFE00", "Cancel", "C-CANCEL was received"),
)
RETRIEVE_STATUSES: Final = (
    ("0xFF00", "Pending", "sub-operations go on, with their numbers"),
    ("0x0000", "Success", "every object was sent"),
    (
        "0xB000",
        "Warning",
        "some sub-operations failed or ended with a warning; failed UIDs are given",
    ),
    ("0xA701", "Refused: unable to calculate number of matches", "the index does not answer"),
    ("0xA702", "Refused: unable to perform sub-operations", "none could be sent"),
    ("0xA801", "Refused: move destination unknown", "no active remote node has this AE title"),
    WITHOUT_RIGHT,
    ("0xA900", "Error: identifier does not match SOP class", "level or unique keys are wrong"),
    ("0xC000", "Unable to process", "the identifier cannot be understood"),
    OTHER_CLASS,
    ("0xFE00", "Cancel", "C-CANCEL was received"),
)
