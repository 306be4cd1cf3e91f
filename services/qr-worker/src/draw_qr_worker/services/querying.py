"""A query to one node: asked whole, and in narrower parts where the node stops too early.

A node that stops at its limit may say so, or may not: an answer of suspiciously round
length is checked by asking for its parts. The limit that shows so is remembered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from draw_qr_worker.models import (
    ClaimedJob,
    InvalidJob,
    JobState,
    Lease,
    Match,
    NotSupported,
    Outcome,
)
from draw_qr_worker.services.expectation import Finder, Finders
from draw_qr_worker.services.jobs import Control
from draw_qr_worker.services.node_tests import Findings, node_of
from draw_qr_worker.services.query_splitting import Part, split, whole
from draw_shared.errors import DrawError

MOST_REQUESTS: Final = 2000
"""C-FIND requests for one query; a node that needs more is not going to be read out."""
SMALLEST_LIMIT: Final = 50
LIMIT_STEP: Final = 50
"""Limits of real nodes are round numbers: multiples of this."""
FIND_LIMIT: Final = "find_limit"
LEVELS: Final = frozenset({"PATIENT", "STUDY", "SERIES", "IMAGE"})
UNIQUE_KEYS: Final[Mapping[str, str]] = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
_PATIENT: Final = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
RETURN_KEYS: Final[Mapping[str, Sequence[str]]] = {
    "PATIENT": (*_PATIENT, "IssuerOfPatientID", "NumberOfPatientRelatedStudies"),
    "STUDY": (
        *_PATIENT,
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "StudyDescription",
        "AccessionNumber",
        "StudyID",
        "ModalitiesInStudy",
        "ReferringPhysicianName",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    "SERIES": (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
    ),
    "IMAGE": (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "SOPClassUID",
        "InstanceNumber",
    ),
}
"""What is asked for at each level besides the keys of the query."""


class ResultTable(Protocol):
    """The rows of what queries found."""

    def add(self, lease: Lease, query_id: UUID, node_id: int, matches: Mapping[str, Match]) -> None:
        """Keep matches by their unique keys; one that is there already stays as it is."""


@dataclass(slots=True)
class _Found:
    """What is known so far."""

    level: str
    most: int
    """Matches after which the operator wants no more; 0: all."""
    limit: int
    """The node's own limit as far as it has shown; 0: none seen."""
    seen: set[str] = field(default_factory=set)
    requests: int = 0
    certain: bool = True
    reason: str = ""

    @property
    def full(self) -> bool:
        return bool(self.most) and len(self.seen) >= self.most

    def new(self, matches: Sequence[Match]) -> dict[str, Match]:
        """Return the matches that were not seen before by unique key, as many as are wanted."""
        fresh: dict[str, Match] = {}
        for match in matches:
            key = unique_key(self.level, match)
            if key not in self.seen and not self.full:
                self.seen.add(key)
                fresh[key] = match
        return fresh

    def doubt(self, reason: str) -> None:
        self.certain = False
        self.reason = self.reason or reason


class FindTask:
    """Asks one node and keeps what it answers."""

    def __init__(self, finders: Finders, results: ResultTable, findings: Findings) -> None:
        self._finders = finders
        self._results = results
        self._findings = findings

    def run(self, job: ClaimedJob, control: Control) -> Outcome:
        """Return complete, or partial when the node does not tell everything.

        Raises:
            InvalidJob: the query makes no sense.
            StatusPermanent | StatusTransient: the node refused it.
        """
        node = node_of(job)
        if not node.supports_find:
            raise NotSupported("the node is set up without C-FIND")
        query_id, part, most = _question(job.parameters)
        found = _Found(part.level, most, int(node.capabilities.get(FIND_LIMIT, 0)))
        with self._finders.finder(node, control) as finder:
            for matches in _answers(finder, part, found):
                fresh = found.new(matches)
                if fresh:
                    self._results.add(job.lease, query_id, node.id, fresh)
                control.report(matches=len(found.seen), requests=found.requests)
                control.check()
        if found.limit and found.limit != node.capabilities.get(FIND_LIMIT):
            self._findings.learned(node.id, {FIND_LIMIT: found.limit})
        result = {
            "completeness": "complete" if found.certain else "truncated",
            "matches": len(found.seen),
            "requests": found.requests,
        }
        state = JobState.COMPLETE if found.certain else JobState.PARTIAL
        return Outcome(state, result, found.reason)

    def give_up(self, _job: ClaimedJob, error: DrawError) -> Outcome:
        """Return failed with the reason."""
        return Outcome(JobState.FAILED, {"completeness": "truncated"}, str(error))


def _answers(finder: Finder, part: Part, found: _Found) -> Iterator[list[Match]]:
    """Yield the matches of the query and of the parts it has to be cut into."""
    left = [(part, 0)]
    while left:
        part, suspected = left.pop()
        if found.requests >= MOST_REQUESTS:
            found.doubt("the node answers so little at a time that the query was given up")
            return
        matches: list[Match] = []
        end = finder.find(part.level, part.narrowed(), matches.append)
        found.requests += 1
        before = len(found.seen)
        yield matches
        if found.full:
            found.doubt("stopped at the number of results that was asked for")
            return
        if suspected and len(found.seen) > before:
            # Its part brought something new: the round answer was cut without a word.
            found.limit = suspected
        if end.cut_short:
            found.limit = max(found.limit, len(matches))
        if end.cut_short or _suspicious(len(matches), found.limit or suspected):
            left += _parts(part, matches, found, cut=end.cut_short)


def _parts(
    part: Part, matches: Sequence[Match], found: _Found, *, cut: bool
) -> list[tuple[Part, int]]:
    cut = cut or len(matches) == found.limit
    parts, certain = split(part, matches)
    if cut and not (parts and certain):
        found.doubt("the node stops at its limit, and the query cannot be cut further")
    suspected = 0 if cut else len(matches)
    return [(each, suspected) for each in reversed(parts)]


def _suspicious(number: int, limit: int) -> bool:
    if limit:
        return number >= limit
    return number >= SMALLEST_LIMIT and number % LIMIT_STEP == 0


def unique_key(level: str, match: Match) -> str:
    """Return what tells one match from another."""
    keys = [str(match.get(UNIQUE_KEYS[level]) or "")]
    if level == "PATIENT":
        keys.append(str(match.get("IssuerOfPatientID") or ""))
    if keys[0]:
        return "\\".join(keys)
    return repr(sorted(match.items()))


def _question(parameters: Mapping[str, Any]) -> tuple[UUID, Part, int]:
    try:
        level, keys = str(parameters["level"]), dict(parameters["keys"])
        query_id, most = UUID(parameters["query_id"]), int(parameters.get("limit", 0))
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidJob("the query cannot be understood") from error
    if level not in LEVELS:
        raise InvalidJob("the query names no level of the query/retrieve model")
    asked: dict[str, Any] = dict.fromkeys(RETURN_KEYS[level], "") | keys
    return query_id, whole(level, asked), most
