"""Asks the node, before a retrieve begins, what the retrieve must bring.

The best answer is a list of SOP instances: C-FIND at the level IMAGE, one series at a time, because
nodes want every unique key above the level. Nodes err, so every list is compared with the number
that the level above reports. If they differ, the larger number counts, and the retrieve requests
the whole study instead of the listed instances. If a list was cut and no number exceeds it, a doubt
remains: whatever arrives, nothing proves that it is everything. A node that answers no query leaves
only the counts that it reports at the end of the retrieve.

Concurrency: everything runs on the job's thread over one association, and nothing is stored here
except the node's limit. If the worker dies, the next try asks again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from draw_qr_worker.models import (
    InvalidJob,
    Item,
    Match,
    NothingThere,
    RemoteNode,
    StatusPermanent,
    StatusTransient,
    Subject,
)
from draw_qr_worker.ports.querying import NodeMemory, QueryPeers
from draw_qr_worker.ports.supervision import Supervision
from draw_qr_worker.services.asking import Asker, QueryAnswer, Question
from draw_qr_worker.services.lookup import LookupResult, look_up, merge_larger, number_of, text_of
from draw_qr_worker.services.query_models import LEVELS, levels_above, needs_patient
from draw_qr_worker.services.retrieve_plan import UID
from draw_shared.dicom.network.peer_failures import NotSupported
from draw_shared.wording import message

REFUSED: Final = (NotSupported, StatusPermanent, StatusTransient)
"""The node answers, but it refuses this query."""


@dataclass(frozen=True, slots=True)
class StudyExpectation:
    """What a retrieve expects of one study."""

    study_instance_uid: str
    patient_id: str = ""
    items: tuple[Item, ...] = ()
    count: int | None = None
    """The largest number that any level reports; None if nothing is known."""
    listed: bool = False
    """Whether the items name every expected instance."""
    doubt: str = ""
    """Why nothing can prove the count; empty if it is proved."""
    unchecked: str = ""
    """Why the count is suspicious until the node's own count of sent objects confirms it."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a retrieve expects: named instances, only a number, or something unknown."""

    studies: tuple[StudyExpectation, ...]
    doubt: str = ""
    """Why there may be more studies."""
    lacking: str = ""
    """What the node is known to have but does not name."""
    unfit: tuple[str, ...] = ()
    """Studies that the node named although they do not match the job."""

    @property
    def count(self) -> int | None:
        """The number of expected instances; None if unknown."""
        counts = [study.count for study in self.studies]
        return None if None in counts else sum(count or 0 for count in counts)


class Expectations:
    """Asks nodes what a retrieve will bring."""

    def __init__(self, finders: QueryPeers, memory: NodeMemory, *, max_studies: int) -> None:
        self._finders = finders
        self._memory = memory
        self._max_studies = max_studies

    def expect(self, node: RemoteNode, subject: Subject, supervision: Supervision) -> Expectation:
        """Return what the node says it has of the subject.

        Raises:
            NothingThere: the node has nothing.
            NotSupported: the node's query model has no such level.
            InvalidJob: the node names too many studies, or does not tell whose they are.
            StatusPermanent | StatusTransient: the node refuses to look the studies up.
        """
        levels_above(node.query_model, subject.level)
        if not node.supports_find:
            return _expect_unasked(node, subject)
        try:
            with self._finders.finder(node, supervision) as finder:
                asker = Asker(finder, node)
                try:
                    return self._list_studies(asker, node, subject)
                finally:
                    asker.record_limit(self._memory)
        except NotSupported:
            return _expect_unasked(node, subject)

    def _list_studies(self, asker: Asker, node: RemoteNode, subject: Subject) -> Expectation:
        found = self._look_up(asker, node, subject)
        studies = [
            _StudyListing(asker, node, subject, uid, row).list_levels()
            for uid, row in found.studies.items()
        ]
        expectation = Expectation(
            tuple(studies), found.doubt, found.lacking, tuple(sorted(found.unfit))
        )
        return _compare_with_patient(expectation, found)

    def _look_up(self, asker: Asker, node: RemoteNode, subject: Subject) -> LookupResult:
        if not subject.study_instance_uid:
            return look_up(asker, node, subject, self._max_studies)
        try:
            return look_up(asker, node, subject, self._max_studies)
        except REFUSED as error:
            if needs_patient(node) and not subject.patient_id:
                raise InvalidJob(NO_PATIENT) from error
        except NothingThere:
            # Without a match that names the patient, the patient may be the wrong one.
            if needs_patient(node) or subject.patient_id or subject.accession_number:
                raise
        return LookupResult({subject.study_instance_uid: {}})


NO_PATIENT: Final = message(
    "the node's query model needs the Patient ID and the node does not tell "
    "it: name the patient with the study"
)


def _expect_unasked(node: RemoteNode, subject: Subject) -> Expectation:
    if not subject.study_instance_uid:
        raise NothingThere(
            message("the node answers no queries, so its studies cannot be looked up")
        )
    if needs_patient(node) and not subject.patient_id:
        raise InvalidJob(NO_PATIENT)
    study = subject.study_instance_uid
    if subject.sop_instance_uids:
        named = _named_items(subject, {})
        return Expectation(
            (StudyExpectation(study, subject.patient_id, named, len(named), listed=True),)
        )
    return Expectation((StudyExpectation(study, subject.patient_id),))


def _compare_with_patient(expectation: Expectation, found: LookupResult) -> Expectation:
    """Return the expectation after comparing it with the number of the patient's instances."""
    count, said = expectation.count, found.instances
    if count is None or said is None or said <= count or expectation.lacking:
        return expectation
    lacking = message(
        "the node says that the patient has %(said)s objects and names %(count)s",
        said=said,
        count=count,
    )
    return Expectation(expectation.studies, expectation.doubt, lacking, expectation.unfit)


@dataclass(slots=True)
class _SeriesListing:
    """What is known about one series."""

    number: int | None
    """The number of instances that the level SERIES reports."""
    listed: int = 0
    answer: QueryAnswer | None = None
    """The answer of the level IMAGE; None if there was none."""

    @property
    def count(self) -> int | None:
        """The larger number of the two levels."""
        if self.answer is None or not self.listed:
            # A series always has instances: an empty answer tells nothing.
            return self.number
        return max(self.listed, self.number or 0)

    @property
    def open(self) -> QueryAnswer | None:
        """The answer, if it was cut and no number tells by how much."""
        if self.answer is None or self.answer.whole or (self.count or 0) > self.listed:
            return None
        return self.answer


@dataclass(slots=True)
class _StudyListing:
    """Lists one study level by level."""

    asker: Asker
    node: RemoteNode
    subject: Subject
    study: str
    row: Match
    """The match of the level STUDY; empty if there is none."""
    series: dict[str, _SeriesListing] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)

    @property
    def patient(self) -> str:
        return text_of(self.row, "PatientID") or self.subject.patient_id

    @property
    def keys(self) -> dict[str, str]:
        above = {"PatientID": self.patient} if needs_patient(self.node) else {}
        return above | {"StudyInstanceUID": self.study}

    @property
    def whole_study(self) -> bool:
        return self.subject.level == "STUDY"

    def list_levels(self) -> StudyExpectation:
        """Return what to expect of the study.

        Raises:
            NothingThere: no level knows the study or series.
            InvalidJob: the node does not tell whose study it is.
        """
        if needs_patient(self.node) and not self.patient:
            raise InvalidJob(NO_PATIENT)
        answer = self._list_series() if "SERIES" in LEVELS[self.node.query_model] else None
        if answer is not None:
            if not self.series and not (self.row and self.whole_study):
                raise NothingThere(message("the node has no such study or series"))
            self._list_images()
        if self.subject.sop_instance_uids:
            # Instances that the job names are expected even if the node does not list them.
            named = _named_items(self.subject, self.items)
            return StudyExpectation(self.study, self.patient, named, len(named), listed=True)
        return self._judge(answer)

    def _list_series(self) -> QueryAnswer | None:
        number = number_of(self.row, "NumberOfStudyRelatedSeries") if self.whole_study else None
        rows: dict[str, Match] = {}

        def take(match: Match) -> None:
            uid = text_of(match, "SeriesInstanceUID")
            if uid and self._is_of(match) and self.subject.series_instance_uid in {"", uid}:
                rows[uid] = merge_larger(rows[uid], match) if uid in rows else match

        asked = {
            "SeriesInstanceUID": self.subject.series_instance_uid,
            "Modality": "",
            "NumberOfSeriesRelatedInstances": "",
        }
        question = Question(
            "SERIES",
            self.keys | asked,
            number=lambda: number,
            relied_on=number is None and self._number is None,
            splits=self.whole_study and self._number is None,
        )
        try:
            answer = self.asker.ask(question, take)
        except REFUSED:
            return None
        for uid, row in rows.items():
            self.series[uid] = _SeriesListing(number_of(row, "NumberOfSeriesRelatedInstances"))
        return answer

    def _list_images(self) -> None:
        try:
            for uid, series in self.series.items():
                self._list_images_of(uid, series)
        except REFUSED:
            # The node does not offer the level: do not ask for the other series either.
            return

    def _list_images_of(self, series_uid: str, series: _SeriesListing) -> None:
        listed: dict[str, Item] = {}

        def take(match: Match) -> None:
            uid = text_of(match, "SOPInstanceUID")
            if uid and self._is_of(match) and _agrees(match, "SeriesInstanceUID", series_uid):
                sop_class = text_of(match, "SOPClassUID")
                # C-GET proposes the class, and nodes abort associations that propose an invalid
                # one.
                known = sop_class if UID.fullmatch(sop_class) else ""
                listed[uid] = Item(self.study, series_uid, uid, known)

        asked = {"SeriesInstanceUID": series_uid, "SOPInstanceUID": "", "SOPClassUID": ""}
        question = Question(
            "IMAGE",
            self.keys | asked,
            number=lambda: series.number,
            relied_on=series.number is None and self._number is None,
            splits=False,
        )
        series.answer = self.asker.ask(question, take)
        series.listed = len(listed)
        self.items |= listed

    def _is_of(self, match: Match) -> bool:
        return _agrees(match, "StudyInstanceUID", self.study)

    @property
    def _number(self) -> int | None:
        """The number of the subject's instances that the level STUDY reports."""
        if not self.whole_study:
            return None
        return number_of(self.row, "NumberOfStudyRelatedInstances")

    def _judge(self, answer: QueryAnswer | None) -> StudyExpectation:
        """Return the largest expectation, and what proves it."""
        counts = [series.count for series in self.series.values()]
        known = answer is not None and bool(counts) and None not in counts
        listed = max(sum(count or 0 for count in counts), len(self.items))
        unnamed = self._count_unnamed_series()
        least = listed + unnamed
        number = self._number
        if number is None and not known:
            return StudyExpectation(self.study, self.patient, tuple(self.items.values()))
        count = max(least, number or 0)
        doubt = unchecked = ""
        if number is None or number <= listed:
            doubt, unchecked = self._find_doubts(answer)
        if number is not None and number >= least:
            unchecked = ""
        elif unnamed:
            doubt = doubt or message("the node does not name %(unnamed)s series", unnamed=unnamed)
        whole = len(self.items) == count and not doubt
        return StudyExpectation(
            self.study,
            self.patient,
            tuple(self.items.values()),
            count,
            whole and not unchecked,
            doubt,
            unchecked,
        )

    def _count_unnamed_series(self) -> int:
        """Return how many series the node counts but does not name; each has an instance."""
        number = number_of(self.row, "NumberOfStudyRelatedSeries") if self.whole_study else None
        return max(0, (number or 0) - len(self.series))

    def _find_doubts(self, answer: QueryAnswer | None) -> tuple[str, str]:
        open_answers = [series.open for series in self.series.values()]
        if answer is not None and self.whole_study and not self._count_unnamed_series():
            open_answers.append(answer)
        cut = [each.cut for each in open_answers if each is not None and each.cut]
        unchecked = [each.unchecked for each in open_answers if each is not None]
        return (cut or [""])[0], next(filter(None, unchecked), "")


def _named_items(subject: Subject, items: Mapping[str, Item]) -> tuple[Item, ...]:
    study, series = subject.study_instance_uid, subject.series_instance_uid
    return tuple(items.get(uid) or Item(study, series, uid) for uid in subject.sop_instance_uids)


def _agrees(match: Match, keyword: str, value: str) -> bool:
    """Return whether a match has this value, or leaves the attribute out."""
    return text_of(match, keyword) in {"", value}
