"""Has the earlier studies of a patient retrieved that a node has and that are not here.

The job of such a delivery asks the node and makes a batch of retrieves, in a transaction that its
lease guards. The number of the batch follows from that of the job: an execution that was killed
behind this transaction finds its batch again, and none makes a second one. The planner follows the
batch in the place of the job.

The newest studies are chosen first, and of these what is here is left out. Otherwise each further
series of a study would bring older ones.
"""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from draw_qr_worker.models import (
    ClaimedJob,
    InvalidJob,
    JobOutcome,
    JobState,
    Match,
    NewPriorBatch,
    NewPriorRetrieve,
    Postponed,
    PriorStudy,
    RemoteNode,
    RoutedStudy,
    StatusPermanent,
)
from draw_qr_worker.ports.priors import PriorRepository
from draw_qr_worker.ports.querying import NodeMemory, QueryPeers
from draw_qr_worker.services.asking import Asker
from draw_qr_worker.services.batch_querying import LEVEL, NUMBER, say_untold
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.lookup import number_of, text_of
from draw_qr_worker.services.node_tests import node_of
from draw_qr_worker.services.querying import MatchCollector, NodeQuery, require_queries
from draw_qr_worker.services.retrieve_plan import UID, subject_of
from draw_shared.contracts.retrieves import known_subject, retrieve_key
from draw_shared.dicom.query.answer_fits import has_value, misfit
from draw_shared.routing.destinations import PriorsDestination
from draw_shared.wording import message

BATCH_NAMESPACE: Final = UUID("5b0a6f0e-7a52-5c1f-8f6d-2f4a3c9b7d10")
OTHERS_INTERVAL: Final = timedelta(seconds=60)
"""How often it is looked whether retrieves of others have brought what is wanted."""
TIME_DIGITS: Final = 6

NO_PATIENT: Final = message("the study has no Patient ID: nobody knows whose studies to ask for")
NO_DATE: Final = message("the study has no date: nobody knows which studies are earlier")
NOT_AGAIN: Final = message(
    "the study was brought as an earlier one itself, and does not ask for others"
)
OF_OTHERS: Final = message("others retrieve all of these studies already")


class PriorsTask:
    """Asks a node for earlier studies, and has them retrieved."""

    def __init__(
        self,
        rows: PriorRepository,
        finders: QueryPeers,
        memory: NodeMemory,
    ) -> None:
        self._rows = rows
        self._finders = finders
        self._memory = memory

    def run(
        self, job: ClaimedJob, target: PriorsDestination, control: ExecutionControl
    ) -> JobOutcome | None:
        """Return complete when nothing is missing or a batch brings it; None if it is not here.

        Raises:
            InvalidJob: the study does not say whose it is, or from when.
            NotSupported: the node answers no queries.
            StatusPermanent | StatusTransient: the node refuses the query, or says too little.
            Postponed: others retrieve everything that is missing.
            PeerTrouble: the node does not work at the moment.
        """
        node, batch_id = node_of(job), batch_of(job.lease.job_id)
        if self._rows.is_requested(batch_id):
            return JobOutcome(JobState.COMPLETE)
        study = self._rows.study(subject_of(job.parameters).study_instance_uid)
        if study is None:
            return None
        if study.is_prior:
            return JobOutcome(JobState.COMPLETE, NOTHING, NOT_AGAIN)
        choice = PriorChoice(study, target)
        doubt = self._ask(require_queries(node), choice, control)
        missing = self._missing(choice.newest())
        if not missing:
            state = JobState.PARTIAL if doubt else JobState.COMPLETE
            return JobOutcome(state, NOTHING, doubt)
        batch = NewPriorBatch(
            batch_id,
            int(job.parameters["delivery_id"]),
            node.id,
            {"of": "retrieve", "doubt": doubt},
            [_retrieve_of(job, node, study, each) for each in missing],
        )
        if self._rows.request(job.lease, batch) == len(missing):
            raise Postponed(job.now + OTHERS_INTERVAL, OF_OTHERS)
        return JobOutcome(JobState.COMPLETE)

    def _ask(self, node: RemoteNode, choice: "PriorChoice", control: ExecutionControl) -> str:
        """Return why the node may have more than it names; empty if nothing suggests it."""
        catch = MatchCollector(LEVEL, 0, choice.add)
        with self._finders.finder(node, control) as finder:
            query = NodeQuery(Asker(finder, node), node, catch, lambda _: control.check())
            try:
                query.ask(LEVEL, choice.keys)
            finally:
                query.asker.record_limit(self._memory)
        catch.write()
        choice.check()
        return catch.doubt

    def _missing(self, priors: Sequence[PriorStudy]) -> list[PriorStudy]:
        """Return the studies that are not here, or not completely by number."""
        here = self._rows.instance_counts([each.study_instance_uid for each in priors])
        return [
            each
            for each in priors
            if not each.instances or here.get(each.study_instance_uid, 0) < each.instances
        ]


class PriorChoice:
    """Chooses from a node's matches the newest studies of the patient before a study.

    Matches of other patients, from other days, without a date or with a malformed UID are left
    out, whatever was asked.
    """

    def __init__(self, study: RoutedStudy, target: PriorsDestination) -> None:
        """Begin with nothing.

        Raises:
            InvalidJob: the study does not say whose it is, or from when.
        """
        if not study.patient_id:
            raise InvalidJob(NO_PATIENT)
        if study.study_date is None:
            raise InvalidJob(NO_DATE)
        # A Patient ID that names several is refused as in every retrieve.
        subject_of({"patient_id": study.patient_id})
        first = _plain(months_before(study.study_date, target.months))
        last = _plain(study.study_date)
        self._own = study.study_instance_uid
        self._issuer = study.issuer
        self._before = last, f"{study.study_time:%H%M%S}" if study.study_time else ""
        self._most = target.most
        self._fixed = {"PatientID": study.patient_id, "StudyDate": f"{first}-{last}"}
        self._modalities = target.modalities
        self._chosen: dict[str, PriorStudy] = {}
        self._untold = False

    @property
    def keys(self) -> Mapping[str, Any]:
        """What to ask the node."""
        asked: dict[str, Any] = {"IssuerOfPatientID": "", **self._fixed}
        return asked | {"ModalitiesInStudy": list(self._modalities) or ""}

    def add(self, matches: Mapping[str, Match]) -> None:
        """Look at matches, and keep what may be among the newest."""
        for match in matches.values():
            if self._fits(match):
                uid = text_of(match, "StudyInstanceUID")
                self._chosen[uid] = PriorStudy(
                    uid, _moment_of(match), number_of(match, NUMBER), match
                )
        self._chosen = {each.study_instance_uid: each for each in self.newest()}

    def newest(self) -> list[PriorStudy]:
        """Return the chosen studies, the newest first."""
        order = sorted(self._chosen.values(), key=lambda one: (one.moment, one.study_instance_uid))
        return order[::-1][: self._most]

    def check(self) -> None:
        """Make sure that the node has said whose its studies are.

        Raises:
            StatusPermanent: it has not.
        """
        if self._untold and not self._chosen:
            raise StatusPermanent(say_untold(["PatientID"]))

    def _fits(self, match: Match) -> bool:
        uid = text_of(match, "StudyInstanceUID")
        if uid == self._own or not UID.fullmatch(uid):
            return False
        wrong = misfit(self._fixed | {"ModalitiesInStudy": "\\".join(self._modalities)}, match)
        self._untold = self._untold or (wrong == "PatientID" and not has_value(match, "PatientID"))
        issuer = text_of(match, "IssuerOfPatientID")
        if wrong or (issuer and self._issuer and issuer != self._issuer):
            return False
        (day, moment), (own_day, own_moment) = _moment_of(match), self._before
        same_day = bool(moment and own_moment) and moment < own_moment
        return bool(day) and (day < own_day or same_day)


NOTHING: Final[Mapping[str, Any]] = {"expected": 0, "delivered": 0}
"""The result of a job after which nothing is to be retrieved."""


def batch_of(job_id: UUID) -> UUID:
    """Return the number of the batch that a delivery's job makes."""
    return uuid5(BATCH_NAMESPACE, str(job_id))


def months_before(day: date, months: int) -> date:
    """Return the same day so many months earlier, or the last of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    if year < date.min.year:
        return date.min
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _retrieve_of(
    job: ClaimedJob, node: RemoteNode, study: RoutedStudy, prior: PriorStudy
) -> NewPriorRetrieve:
    uid = prior.study_instance_uid
    parameters = {
        "study_instance_uid": uid,
        # The retrieve makes sure once more whose study it is.
        "patient_id": study.patient_id,
        "about": known_subject(prior.attributes).values(),
        "give_up_at": job.parameters["give_up_at"],
    }
    return NewPriorRetrieve(uid, retrieve_key(node.id, "", study=uid), parameters)


def _plain(day: date) -> str:
    return day.isoformat().replace("-", "")


def _moment_of(match: Match) -> tuple[str, str]:
    """Return date and time to the second, whichever of their forms a node uses."""
    day = text_of(match, "StudyDate").replace(".", "")
    digits = text_of(match, "StudyTime").partition(".")[0].replace(":", "")
    return day, digits.ljust(TIME_DIGITS, "0") if digits.isdecimal() else ""
