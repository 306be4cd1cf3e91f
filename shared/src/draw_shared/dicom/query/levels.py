"""Information models of query/retrieve: their levels, and the keys that an identifier must have.

PS3.4 C.4.1.2.2 (hierarchical search) and C.4.2.2.1 (retrieve): an identifier names one level and
holds one value of the unique key of each level above it. Relational queries (C.4.1.2.3) need no
keys above. In the Study Root model the attributes of the patient belong to the study level.
"""

from collections.abc import Mapping
from typing import Final

from draw_shared.dicom.encoding import uids
from draw_shared.dicom.network.service import OperationRefused
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.query.keys import BY_KEYWORD, UNIQUE_KEYS, IndexedAttribute, Level
from draw_shared.dicom.query.matching import Condition, Texts
from draw_shared.wording import message

_PATIENT_ROOT: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
_STUDY_ROOT: Final = (Level.STUDY, Level.SERIES, Level.IMAGE)
_PATIENT_STUDY_ONLY: Final = (Level.PATIENT, Level.STUDY)

LEVELS: Final[Mapping[str, tuple[Level, ...]]] = {
    uids.PATIENT_ROOT_FIND: _PATIENT_ROOT,
    uids.PATIENT_ROOT_MOVE: _PATIENT_ROOT,
    uids.PATIENT_ROOT_GET: _PATIENT_ROOT,
    uids.STUDY_ROOT_FIND: _STUDY_ROOT,
    uids.STUDY_ROOT_MOVE: _STUDY_ROOT,
    uids.STUDY_ROOT_GET: _STUDY_ROOT,
    uids.PATIENT_STUDY_ONLY_FIND: _PATIENT_STUDY_ONLY,
    uids.PATIENT_STUDY_ONLY_MOVE: _PATIENT_STUDY_ONLY,
    uids.PATIENT_STUDY_ONLY_GET: _PATIENT_STUDY_ONLY,
}
"""Levels of each SOP class, from the top."""

Conditions = Mapping[IndexedAttribute, Condition]


def unique_key(level: Level) -> IndexedAttribute:
    """Return the attribute that identifies an entity of this level."""
    return BY_KEYWORD[UNIQUE_KEYS[level]]


def level_named(name: str, sop_class_uid: str) -> Level:
    """Return the level that Query/Retrieve Level (0008,0052) names.

    Raises:
        OperationRefused: it is missing, or the model has no such level.
    """
    levels = LEVELS.get(sop_class_uid)
    if levels is None:
        raise OperationRefused(
            DimseStatus.SOP_CLASS_NOT_SUPPORTED, message("this information model is not offered")
        )
    found = Level.__members__.get(name.strip(" \0"))
    if found is None or found not in levels:
        raise OperationRefused(
            DimseStatus.DATA_SET_DOES_NOT_MATCH,
            message("Query/Retrieve Level is none of this model"),
        )
    return found


def require_keys_above(level: Level, sop_class_uid: str, conditions: Conditions) -> None:
    """Return if the identifier has one value of the unique key of each level above.

    Raises:
        OperationRefused: the identifier breaks the hierarchy.
    """
    for above in LEVELS[sop_class_uid]:
        if above >= level:
            return
        key = unique_key(above)
        condition = conditions.get(key)
        if not isinstance(condition, Texts) or len(condition.values) != 1:
            raise OperationRefused(
                DimseStatus.DATA_SET_DOES_NOT_MATCH,
                message(
                    "one value of %(key)s is needed at level %(level)s",
                    key=key.keyword,
                    level=level.name,
                ),
            )


def require_unique_key(level: Level, conditions: Conditions) -> None:
    """Return if the level's own unique key names what to retrieve (PS3.4 C.4.2.2.1).

    Raises:
        OperationRefused: it is missing, or is not a list of values.
    """
    key = unique_key(level)
    if not isinstance(conditions.get(key), Texts):
        raise OperationRefused(
            DimseStatus.DATA_SET_DOES_NOT_MATCH,
            message("values of %(key)s are needed for a retrieve", key=key.keyword),
        )
