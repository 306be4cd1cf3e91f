"""What a retrieve will bring, as the node itself says before it begins.

Best is a list of SOP instances (C-FIND at the level IMAGE, series by series, because many
nodes want every unique key above the level). A node that cannot do that may still tell
numbers (NumberOfSeriesRelatedInstances, NumberOfStudyRelatedInstances). One that answers no
query at all leaves only what it says at the end of the retrieve.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from draw_qr_worker.models import (
    FindEnd,
    Item,
    Keys,
    Match,
    Node,
    NothingThere,
    NotSupported,
    StatusPermanent,
    StatusTransient,
    Subject,
    Supervision,
)

REFUSED = (NotSupported, StatusPermanent, StatusTransient)
"""The node answers, but not this query."""


class Finder(Protocol):
    """Sends C-FIND requests over one association."""

    def find(self, level: str, keys: Keys, take: Callable[[Match], None]) -> FindEnd:
        """Hand each match to `take` and say how the query ended."""


class Finders(Protocol):
    """Opens associations for queries."""

    def finder(self, node: Node, supervision: Supervision) -> AbstractContextManager[Finder]:
        """Yield a finder for as many queries as are wanted."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What shall arrive: items, or only their number, or nothing that is known."""

    studies: tuple[str, ...]
    items: tuple[Item, ...] = ()
    count: int | None = None


class Expectations:
    """Asks nodes what a retrieve will bring."""

    def __init__(self, finders: Finders) -> None:
        self._finders = finders

    def of(self, node: Node, subject: Subject, supervision: Supervision) -> Expectation:
        """Return what the node says it has of the subject.

        Raises:
            NothingThere: it has nothing.
        """
        known = (subject.study_instance_uid,) if subject.study_instance_uid else ()
        if not node.supports_find:
            return _unasked(known)
        try:
            with self._finders.finder(node, supervision) as finder:
                studies = known or _looked_up(finder, subject)
                return _expected(finder, studies, subject, patient=node.query_model == "patient")
        except REFUSED:
            return _unasked(known)


def _unasked(studies: tuple[str, ...]) -> Expectation:
    if not studies:
        raise NothingThere("the node answers no queries, so its studies cannot be looked up")
    return Expectation(studies)


def _looked_up(finder: Finder, subject: Subject) -> tuple[str, ...]:
    keys = {
        "StudyInstanceUID": "",
        "PatientID": subject.patient_id,
        "AccessionNumber": subject.accession_number,
    }
    found = _values(finder, "STUDY", keys, "StudyInstanceUID")
    if not found:
        raise NothingThere("the node has no study with this patient and accession number")
    return found


def _expected(
    finder: Finder, studies: Sequence[str], subject: Subject, *, patient: bool
) -> Expectation:
    above = {"PatientID": subject.patient_id} if patient and subject.patient_id else {}
    items: list[Item] = []
    count: int | None = 0
    for study in studies:
        keys = above | {"StudyInstanceUID": study}
        listed, number = _of_study(finder, keys, subject)
        items += listed
        count = None if count is None or number is None else count + number
    complete = count is not None and len(items) == count
    return Expectation(tuple(studies), tuple(items) if complete else (), count)


def _of_study(
    finder: Finder, keys: dict[str, str], subject: Subject
) -> tuple[list[Item], int | None]:
    """Return the items of one study, and how many there are as far as that is known."""
    series: list[Match] = []
    asked = {
        "SeriesInstanceUID": subject.series_instance_uid,
        "NumberOfSeriesRelatedInstances": "",
    }
    finder.find("SERIES", keys | asked, series.append)
    if not series:
        raise NothingThere("the node has no such study or series")
    items: list[Item] = []
    try:
        for match in series:
            items += _of_series(finder, keys, str(match.get("SeriesInstanceUID", "")), subject)
    except REFUSED:
        return [], _number(finder, keys, series, subject)
    return items, len(items)


def _of_series(finder: Finder, keys: dict[str, str], series: str, subject: Subject) -> list[Item]:
    matches: list[Match] = []
    asked: dict[str, str | Sequence[str]] = {
        **keys,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": "",
        "SOPClassUID": "",
    }
    end = finder.find("IMAGE", asked, matches.append)
    if end.cut_short:
        raise StatusTransient("the node does not list the whole series")
    classes = {
        str(match["SOPInstanceUID"]): str(match.get("SOPClassUID", ""))
        for match in matches
        if match.get("SOPInstanceUID")
    }
    # What was asked for by name is expected even if the node does not have it.
    wanted = subject.sop_instance_uids or classes
    study = keys["StudyInstanceUID"]
    return [Item(study, series, uid, classes.get(uid, "")) for uid in wanted]


def _number(
    finder: Finder, keys: dict[str, str], series: Sequence[Match], subject: Subject
) -> int | None:
    if subject.sop_instance_uids:
        return len(subject.sop_instance_uids)
    numbers = [_whole(match.get("NumberOfSeriesRelatedInstances")) for match in series]
    if all(number is not None for number in numbers):
        return sum(number or 0 for number in numbers)
    if subject.series_instance_uid:
        return None
    studies: list[Match] = []
    try:
        finder.find("STUDY", keys | {"NumberOfStudyRelatedInstances": ""}, studies.append)
    except REFUSED:
        return None
    return _whole(studies[0].get("NumberOfStudyRelatedInstances")) if studies else None


def _values(finder: Finder, level: str, keys: Keys, keyword: str) -> tuple[str, ...]:
    matches: list[Match] = []
    finder.find(level, keys, matches.append)
    return tuple(dict.fromkeys(str(m[keyword]) for m in matches if m.get(keyword)))


def _whole(value: object) -> int | None:
    text = str(value or "").strip()
    return int(text) if text.isdecimal() else None
