"""Queries one node; stores its answer as it arrives and knows whether it is truncated.

A query that lacks a unique key of a higher level first asks for that level, and then once for each
entity found (PS3.4 C.4.1.3.1.1). If the node also accepts a model that needs no such key, the query
uses that model.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from draw_qr_worker.models import ClaimedJob, InvalidJob, JobOutcome, JobState, Match, RemoteNode
from draw_qr_worker.ports.querying import NodeMemory, QueryPeers, ResultRepository
from draw_qr_worker.services.asking import UNIQUE_KEYS, Asker, Question, unique_key
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.lookup import number_of
from draw_qr_worker.services.node_tests import node_of
from draw_qr_worker.services.query_models import (
    LEVELS,
    is_single,
    levels_above,
    undetermined,
)
from draw_shared.dicom.network.peer_failures import NotSupported
from draw_shared.dicom.query.typed_keys import one_value_each
from draw_shared.errors import DrawError
from draw_shared.wording import message

MAX_BATCH_MATCHES: Final = 200
MAX_BATCH_AGE_SECONDS: Final = 1.0
"""Matches are stored in batches of this size or age, while the node still sends."""
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
"""The attributes to request at each level besides the keys of the query."""
PATIENT_KEYS: Final = frozenset(RETURN_KEYS["PATIENT"])
NUMBERS: Final[Mapping[str, tuple[str, str]]] = {
    "SERIES": ("STUDY", "NumberOfStudyRelatedSeries"),
    "IMAGE": ("SERIES", "NumberOfSeriesRelatedInstances"),
}
"""The level and attribute that report how many matches a level has."""


@dataclass(slots=True)
class MatchCollector:
    """Collects matches and stores them in batches."""

    level: str
    most: int
    """The operator wants no more matches than this; 0 means all."""
    keep: Callable[[Mapping[str, Match]], None]
    seen: set[str] = field(default_factory=set)
    waiting: dict[str, Match] = field(default_factory=dict)
    kept_at: float = field(default_factory=time.monotonic)
    doubt: str = ""

    @property
    def full(self) -> bool:
        return bool(self.most) and len(self.seen) >= self.most

    @property
    def left(self) -> int:
        """How many more matches are wanted; 0 means all."""
        return self.most - len(self.seen) if self.most else 0

    def take(self, match: Match) -> None:
        """Add a match, which may be a repeated one."""
        key = unique_key(self.level, match)
        if key in self.seen or self.full:
            return
        self.seen.add(key)
        self.waiting[key] = match
        late = time.monotonic() - self.kept_at > MAX_BATCH_AGE_SECONDS
        if late or len(self.waiting) >= MAX_BATCH_MATCHES:
            self.write()

    def write(self) -> None:
        """Store the waiting matches."""
        self.kept_at = time.monotonic()
        if self.waiting:
            self.keep(self.waiting)
            self.waiting = {}


class FindTask:
    """Asks one node and stores its answers."""

    def __init__(self, finders: QueryPeers, results: ResultRepository, memory: NodeMemory) -> None:
        self._finders = finders
        self._results = results
        self._memory = memory

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Return complete, or partial when the node does not give every match.

        Raises:
            InvalidJob | NotSupported: the query is invalid, or the node cannot answer it.
            StatusPermanent | StatusTransient: the node refused it.
        """
        node = require_queries(node_of(job))
        query_id, level, keys, most = _parse_parameters(job.parameters)

        def keep(matches: Mapping[str, Match]) -> None:
            self._results.add(job.lease, query_id, node.id, matches)
            control.report(matches=len(catch.seen))

        def requested(requests: int) -> None:
            control.report(matches=len(catch.seen), requests=requests)
            control.check()

        catch = MatchCollector(level, most, keep)
        with self._finders.finder(node, control) as finder:
            query = NodeQuery(Asker(finder, node), node, catch, requested)
            try:
                query.ask(level, keys)
            finally:
                # A cancelled query keeps what it has found, too.
                catch.write()
                query.asker.record_limit(self._memory)
        control.report(matches=len(catch.seen), requests=query.asker.requests)
        result = {
            "completeness": "truncated" if catch.doubt else "complete",
            "matches": len(catch.seen),
            "requests": query.asker.requests,
        }
        return JobOutcome(
            JobState.PARTIAL if catch.doubt else JobState.COMPLETE, result, catch.doubt
        )

    def give_up(self, _job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return failed with the reason."""
        return JobOutcome(JobState.FAILED, {"completeness": "truncated"}, str(error))


@dataclass(slots=True)
class NodeQuery:
    """One query on its way down the levels of the node's model."""

    asker: Asker
    node: RemoteNode
    catch: MatchCollector
    requested: Callable[[int], None]
    """Receives the number of requests after each one; may raise to end the query."""

    def ask(self, level: str, keys: Mapping[str, Any]) -> None:
        """Collect every match, with one query for each value of a multi-valued key."""
        for question in one_value_each(keys):
            if not self.catch.full:
                self._ask(level, question)

    def _ask(self, level: str, keys: Mapping[str, Any]) -> None:
        model = self.node.query_model
        if level == "PATIENT" and "PATIENT" not in LEVELS[model]:
            # Study Root has no such level: patients are attributes of their studies.
            self._ask_patients_by_studies(keys)
            return
        above = undetermined(model, level, keys)
        if not above:
            self._ask_level(level, keys)
        elif "study" in self.asker.models and not undetermined("study", level, keys):
            self._ask_level(level, keys, model="study")
        else:
            self._ask_each(above, level, keys)

    def _ask_each(self, above: str, level: str, keys: Mapping[str, Any]) -> None:
        """Ask for the entities of a higher level, and then for the level below each of them."""
        unique = UNIQUE_KEYS[above]
        upper = {UNIQUE_KEYS[each] for each in levels_above(self.node.query_model, above)}
        asked = {name: keys[name] for name in keys if name in PATIENT_KEYS | upper} | {
            unique: keys.get(unique, "")
        }
        found: dict[str, None] = {}
        answer = self.asker.ask(
            Question(above, asked), lambda match: found.update({_value_of(match, unique): None})
        )
        self.catch.doubt = self.catch.doubt or answer.cut or answer.unchecked
        single = [value for value in found if is_single(value)]
        if len(single) < len(found):
            # Such a value would match several entities again, or all of them.
            self.catch.doubt = self.catch.doubt or (
                message(
                    "%(found)s at the level %(above)s cannot be asked for: the %(unique)s is "
                    "empty, or holds a wildcard or a backslash",
                    found=len(found) - len(single),
                    above=above,
                    unique=unique,
                )
            )
        for value in single:
            if self.catch.full:
                return
            self._ask(level, dict(keys) | {unique: value})

    def _ask_patients_by_studies(self, keys: Mapping[str, Any]) -> None:
        names = [*RETURN_KEYS["PATIENT"], *keys]

        def take(match: Match) -> None:
            self.catch.take({name: match[name] for name in names if name in match})

        self._ask_question("STUDY", keys, take, model="", most=0)

    def _ask_level(self, level: str, keys: Mapping[str, Any], model: str = "") -> None:
        self._ask_question(level, keys, self.catch.take, model=model, most=self.catch.left)

    def _ask_question(
        self,
        level: str,
        keys: Mapping[str, Any],
        take: Callable[[Match], None],
        *,
        model: str,
        most: int,
    ) -> None:
        asked = dict.fromkeys(RETURN_KEYS[level], "") | dict(keys)
        question = Question(level, asked, model=model, most=most)
        answer = self.asker.ask(question, take, self.requested)
        doubt = answer.cut
        if answer.unchecked and self._number(level, keys, model) != answer.matches:
            doubt = doubt or answer.unchecked
        self.catch.doubt = self.catch.doubt or doubt

    def _number(self, level: str, keys: Mapping[str, Any], model: str) -> int | None:
        """Return the number of matches that the level above reports, if it covers the query."""
        above, keyword = NUMBERS.get(level, ("", ""))
        own = {UNIQUE_KEYS[each] for each in LEVELS["patient"]}
        if not above or any(value for name, value in keys.items() if name not in own):
            return None
        given = {name: value for name, value in keys.items() if name in own and value}
        if UNIQUE_KEYS[level] in given:
            return None
        said: list[Match] = []
        self.asker.ask(Question(above, given | {keyword: ""}, model=model), said.append)
        return number_of(said[0], keyword) if len(said) == 1 else None


def require_queries(node: RemoteNode) -> RemoteNode:
    """Return a node that answers queries.

    Raises:
        NotSupported: it is set up without C-FIND.
    """
    if not node.supports_find:
        raise NotSupported(message("the node is set up without C-FIND"))
    return node


def _value_of(match: Match, keyword: str) -> str:
    value = match.get(keyword, "")
    return "\\".join(map(str, value)) if isinstance(value, list) else str(value)


def _parse_parameters(parameters: Mapping[str, Any]) -> tuple[UUID, str, dict[str, Any], int]:
    try:
        level, keys = str(parameters["level"]), dict(parameters["keys"])
        query_id, most = UUID(parameters["query_id"]), int(parameters.get("limit", 0))
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidJob(message("the query cannot be understood")) from error
    if level not in RETURN_KEYS:
        raise InvalidJob(message("the query names no level of the query/retrieve model"))
    return query_id, level, keys, most
