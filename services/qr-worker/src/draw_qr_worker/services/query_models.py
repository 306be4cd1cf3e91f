"""Query models: the levels of each, and the keys that a request must have.

PS3.4 C.4.1.2.2.1 and C.4.2.2.1: a request holds one value of the unique key of each level above its
own. A model may lack a level: Study Root has no PATIENT, Patient/Study Only (retired) neither
SERIES nor IMAGE.
"""

from collections.abc import Mapping
from typing import Final

from draw_qr_worker.models import Keys, RemoteNode
from draw_qr_worker.services.asking import UNIQUE_KEYS
from draw_shared.dicom.network.peer_failures import NotSupported
from draw_shared.wording import message

LEVELS: Final[Mapping[str, tuple[str, ...]]] = {
    "study": ("STUDY", "SERIES", "IMAGE"),
    "patient": ("PATIENT", "STUDY", "SERIES", "IMAGE"),
    "patient_study": ("PATIENT", "STUDY"),
}
WITH_PATIENTS: Final = frozenset({"patient", "patient_study"})
"""Models in which every request below PATIENT needs the Patient ID."""
_SEVERAL: Final = frozenset("*?\\")


def levels_above(model: str, level: str) -> tuple[str, ...]:
    """Return the levels above one, from the top.

    Raises:
        NotSupported: the model has no such level.
    """
    levels = LEVELS[model]
    if level not in levels:
        words = {"study": "Study Root", "patient": "Patient Root"}.get(model, "Patient/Study Only")
        raise NotSupported(
            message(
                "the node's query model, %(model)s, has no level %(level)s",
                model=words,
                level=level,
            )
        )
    return levels[: levels.index(level)]


def is_single(value: object) -> bool:
    """Return whether a key has a single value without wildcards."""
    return isinstance(value, str) and bool(value.strip()) and not _SEVERAL.intersection(value)


def undetermined(model: str, level: str, keys: Keys) -> str:
    """Return the topmost level above whose unique key the request lacks; empty if none."""
    for above in levels_above(model, level):
        if not is_single(keys.get(UNIQUE_KEYS[above], "")):
            return above
    return ""


def needs_patient(node: RemoteNode) -> bool:
    """Return whether a request to this node needs the Patient ID."""
    return node.query_model in WITH_PATIENTS
