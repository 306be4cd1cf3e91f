"""UIDs by purpose: verification, query/retrieve, storage, transfer syntaxes."""

from typing import Final

from draw_shared.dicom.encoding.dictionary import registered_uids

VERIFICATION: Final = "1.2.840.10008.1.1"

PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_STUDY_ONLY_FIND: Final = "1.2.840.10008.5.1.4.1.2.3.1"
PATIENT_STUDY_ONLY_MOVE: Final = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_STUDY_ONLY_GET: Final = "1.2.840.10008.5.1.4.1.2.3.3"

FIND_MODELS: Final = (PATIENT_ROOT_FIND, STUDY_ROOT_FIND, PATIENT_STUDY_ONLY_FIND)
MOVE_MODELS: Final = (PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE, PATIENT_STUDY_ONLY_MOVE)
GET_MODELS: Final = (PATIENT_ROOT_GET, STUDY_ROOT_GET, PATIENT_STUDY_ONLY_GET)

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DEFLATED_LITTLE: Final = "1.2.840.10008.1.2.1.99"

UNCOMPRESSED: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)
MESSAGE_SYNTAXES: Final = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)
"""Transfer syntaxes for everything but storage: identifiers contain nothing compressed."""

_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_NAMED_LIKE_STORAGE: Final = (
    "Media Storage Directory",
    "Storage Commitment",
)
"""Classes of other services: media storage (PS3.4 I), storage commitment (PS3.4 J)."""
_LATER: Final = (  # Not in the dictionary yet.
    # Thermography and ultrasound waveforms of DICONDE.
    "1.2.840.10008.5.1.4.1.1.601.3",
    "1.2.840.10008.5.1.4.1.1.601.4",
    "1.2.840.10008.5.1.4.1.1.601.5",
    # Segmentations as label and height maps, presentation states of waveforms.
    "1.2.840.10008.5.1.4.1.1.66.7",
    "1.2.840.10008.5.1.4.1.1.66.8",
    "1.2.840.10008.5.1.4.1.1.9.100.1",
    "1.2.840.10008.5.1.4.1.1.9.100.2",
)


def _names_storage(uid: str, name: str) -> bool:
    """Return whether the dictionary lists a storage SOP class; some retired ones have no name."""
    if not name:
        return uid.startswith(_STORAGE_ROOT)
    return "Storage" in name and not name.startswith(_NAMED_LIKE_STORAGE)


_STANDARD_CLASSES: Final = {
    uid: found.name for uid, found in registered_uids().items() if found.kind.endswith("SOP Class")
}
ALL_STORAGE: Final = frozenset(
    (
        *(uid for uid, name in _STANDARD_CLASSES.items() if _names_storage(uid, name)),
        *_LATER,
    )
)
"""Every storage SOP class that PS3.6 lists or has listed, including retired ones."""
OTHER_CLASSES: Final = frozenset(_STANDARD_CLASSES) - ALL_STORAGE
"""SOP classes of the standard for other services than storage."""
ALL_TRANSFER_SYNTAXES: Final = frozenset(
    uid
    for uid, found in registered_uids().items()
    if found.kind == "Transfer Syntax" and "Papyrus" not in found.name and "RFC" not in found.name
)
