"""What requests for retrieves have in common, whoever makes them: people, schedules, rules."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

MAX_KNOWN: Final = 256


@dataclass(frozen=True, slots=True)
class KnownSubject:
    """Whom and what an item is about, as a query told it: a job names it to people."""

    patient_name: str = ""
    patient_id: str = ""
    study_date: str = ""
    study_description: str = ""
    series_description: str = ""

    def values(self) -> dict[str, str]:
        """Return what is known, by name."""
        return {name: value for name, value in asdict(self).items() if value}


def known_subject(attributes: Mapping[str, Any]) -> KnownSubject:
    """Return the subject that the attributes of a match describe."""

    def told(keyword: str) -> str:
        value = attributes.get(keyword)
        return value.strip()[:MAX_KNOWN] if isinstance(value, str) else ""

    try:
        day = datetime.strptime(told("StudyDate"), "%Y%m%d").date().isoformat()  # noqa: DTZ007
    except ValueError:
        day = ""
    return KnownSubject(
        patient_name=told("PatientName"),
        patient_id=told("PatientID"),
        study_date=day,
        study_description=told("StudyDescription"),
        series_description=told("SeriesDescription") or told("Modality"),
    )


def retrieve_key(
    node_id: int,
    destination: str,
    *,
    study: str,
    series: str = "",
    instances: Sequence[str] = (),
    patient_id: str = "",
    accession_number: str = "",
) -> str:
    """Return a key that is equal for jobs that bring the same to the same place."""
    named = "\\".join(sorted(instances))
    parts = (
        "retrieve",
        str(node_id),
        destination,
        study,
        series,
        hashlib.sha256(named.encode()).hexdigest()[:16] if named else "",
        "" if study else patient_id,
        "" if study else accession_number,
    )
    return "\x1f".join(parts)
