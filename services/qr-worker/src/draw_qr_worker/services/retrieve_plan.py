"""Plans the fewest requests that fetch what is still missing.

A request names a whole study or series if everything in it is missing, and single SOP instances
otherwise, so that a second try does not fetch again what has arrived.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Final

from draw_qr_worker.models import InvalidJob, Item, Keys, Subject
from draw_shared.wording import message

MAX_UIDS_PER_REQUEST: Final = 100
"""SOP Instance UIDs in one identifier; well below what peers are known to accept."""
PATTERN: Final = re.compile(r"[*?\\]")
UID: Final = re.compile(r"[0-9][0-9.]{0,63}")


class Method(StrEnum):
    """How to fetch objects."""

    AUTO = "auto"
    MOVE = "move"
    GET = "get"


@dataclass(frozen=True, slots=True)
class RetrieveOrder:
    """A retrieve job's parameters."""

    subject: Subject
    method: Method = Method.AUTO
    destination: str = ""
    """AE title to which C-MOVE sends; empty means our own."""
    force: bool = False
    """Retrieve even what is already here."""


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One C-MOVE or C-GET request."""

    level: str
    keys: Keys
    sop_classes: frozenset[str] = frozenset()
    """The known SOP classes of the objects, which C-GET must propose."""
    further_classes: bool = False
    """Whether objects of other classes may come as well."""
    expected: int | None = None
    """How many instances the request should bring."""


def order_of(parameters: Mapping[str, Any]) -> RetrieveOrder:
    """Return the order in the job's row.

    Raises:
        InvalidJob: the row is invalid.
    """
    try:
        return RetrieveOrder(
            subject=subject_of(parameters),
            method=Method(parameters.get("method", Method.AUTO)),
            destination=str(parameters.get("destination", "")),
            force=bool(parameters.get("force", False)),
        )
    except (ValueError, TypeError) as error:
        raise InvalidJob(message("the job's parameters cannot be understood")) from error


def subject_of(parameters: Mapping[str, Any]) -> Subject:
    """Return the subject of the job.

    Raises:
        InvalidJob: nothing is named, or a UID is invalid.
    """
    subject = Subject(
        study_instance_uid=str(parameters.get("study_instance_uid", "")),
        series_instance_uid=str(parameters.get("series_instance_uid", "")),
        # Without duplicates: a retrieve would wait for the second one for ever.
        sop_instance_uids=tuple(dict.fromkeys(map(str, parameters.get("sop_instance_uids", ())))),
        patient_id=str(parameters.get("patient_id", "")).strip(),
        accession_number=str(parameters.get("accession_number", "")).strip(),
    )
    named = [u for u in (subject.study_instance_uid, subject.series_instance_uid) if u]
    if not all(map(UID.fullmatch, [*named, *subject.sop_instance_uids])):
        raise InvalidJob(message("a UID of the job is malformed"))
    if not subject.study_instance_uid and (named or subject.sop_instance_uids):
        raise InvalidJob(message("a series or SOP instance needs its Study Instance UID"))
    if subject.sop_instance_uids and not subject.series_instance_uid:
        raise InvalidJob(message("SOP instances need their Series Instance UID"))
    if not (named or subject.patient_id or subject.accession_number):
        raise InvalidJob(message("the job names no study"))
    if PATTERN.search(subject.patient_id + subject.accession_number):
        raise InvalidJob(
            message(
                "a Patient ID or Accession Number with *, ? or a backslash would name "
                "several: give it in full"
            )
        )
    return subject


def plan_whole(
    study: str, items: Sequence[Item], subject: Subject, expected: int | None
) -> PlannedRequest:
    """Return the request for a whole study, or for the series that the subject names."""
    keys = _keys(study, subject)
    return PlannedRequest(
        subject.level, keys, _classes(items), further_classes=True, expected=expected
    )


def plan_missing(items: Sequence[Item], subject: Subject) -> list[PlannedRequest]:
    """Return the requests for the items that have not arrived."""
    requests: list[PlannedRequest] = []
    for study, of_study in _group(items, lambda item: item.study_instance_uid):
        asked = subject if subject.level != "STUDY" else Subject(study)
        if not any(item.arrived for item in of_study) and subject.level != "IMAGE":
            requests.append(_request(asked.level, _keys(study, asked), of_study))
            continue
        requests += _plan_missing_of_study(study, of_study, subject)
    return requests


def _plan_missing_of_study(
    study: str, items: Sequence[Item], subject: Subject
) -> Iterator[PlannedRequest]:
    for series, of_series in _group(items, lambda item: item.series_instance_uid):
        keys: dict[str, str | Sequence[str]] = {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
        }
        left = [item for item in of_series if not item.arrived]
        if len(left) == len(of_series) and subject.level != "IMAGE":
            yield _request("SERIES", keys, left)
            continue
        for part in _chunk(left):
            uids = [item.sop_instance_uid for item in part]
            yield _request("IMAGE", keys | {"SOPInstanceUID": uids}, part)


def _keys(study: str, subject: Subject) -> dict[str, str | Sequence[str]]:
    keys: dict[str, str | Sequence[str]] = {"StudyInstanceUID": study}
    if subject.series_instance_uid:
        keys["SeriesInstanceUID"] = subject.series_instance_uid
    return keys


def _group(items: Sequence[Item], key: Callable[[Item], str]) -> Iterator[tuple[str, list[Item]]]:
    for value, group in groupby(sorted(items, key=key), key=key):
        yield value, list(group)


def _chunk(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for at in range(0, len(items), MAX_UIDS_PER_REQUEST):
        yield items[at : at + MAX_UIDS_PER_REQUEST]


def _request(level: str, keys: Keys, items: Sequence[Item]) -> PlannedRequest:
    unknown = not all(item.sop_class_uid for item in items)
    return PlannedRequest(
        level, keys, _classes(items), further_classes=unknown, expected=len(items)
    )


def _classes(items: Sequence[Item]) -> frozenset[str]:
    return frozenset(item.sop_class_uid for item in items if item.sop_class_uid)
