"""Looks up the studies of a patient or an accession number at the node.

Only studies that the job asks for are fetched: some nodes ignore a key or treat it as a prefix.
Therefore our own matching rules compare every match with every key of the job, and a match that
does not return a key does not fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from draw_qr_worker.models import InvalidJob, Match, NothingThere, RemoteNode, Subject
from draw_qr_worker.services.asking import Asker, QueryAnswer, Question
from draw_qr_worker.services.query_models import is_single, needs_patient
from draw_qr_worker.services.retrieve_plan import UID
from draw_shared.dicom.query.matching import Patterns, Texts, parse, text_fits
from draw_shared.wording import message

KEYS: Final[Mapping[str, str]] = {
    "PatientID": "LO",
    "AccessionNumber": "SH",
    "StudyInstanceUID": "UI",
}
"""Keys by which a job may name studies, and their VRs."""
ASKED: Final = (
    *KEYS,
    "StudyDate",
    "StudyTime",
    "NumberOfPatientRelatedStudies",
    "NumberOfPatientRelatedInstances",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)
MAX_MATCHES_PER_STUDY: Final = 10
"""With more matches for each study that may be fetched, the node seems to ignore the keys."""

MAX_PATIENTS: Final = 1000
"""Patients to query one by one when a node needs the Patient ID to find a study."""


@dataclass(slots=True)
class LookupResult:
    """The studies that a node named, and which of them fit."""

    studies: dict[str, Match] = field(default_factory=dict)
    unfit: set[str] = field(default_factory=set)
    """Studies that the node named although they do not fit; they are not fetched."""
    doubt: str = ""
    """Why more studies may exist; empty if nothing suggests it."""
    lacking: str = ""
    """What the node is known to have but did not name."""
    nameless: bool = False
    """Whether a fitting study has an invalid UID; used as a key, it could act as a wildcard."""
    instances: int | None = None
    """The number of the patient's instances, if every study of the patient was asked for."""

    def add(self, match: Match, *, fits: bool) -> None:
        """Add a match; ignore it without a UID, or if its study once did not fit."""
        uid = text_of(match, "StudyInstanceUID")
        if not uid:
            return
        if not UID.fullmatch(uid):
            self.nameless = self.nameless or fits
            return
        if not fits or uid in self.unfit:
            self.unfit.add(uid)
            self.studies.pop(uid, None)
        else:
            self.studies[uid] = merge_larger(self.studies.get(uid, match), match)

    def largest(self, keyword: str) -> int | None:
        """Return the largest number in any study's match."""
        said = [number_of(match, keyword) for match in self.studies.values()]
        return max((number for number in said if number is not None), default=None)


def look_up(asker: Asker, node: RemoteNode, subject: Subject, max_studies: int) -> LookupResult:
    """Return the studies of a patient or accession number, or the named study itself.

    Raises:
        NothingThere: the node has none that fits.
        InvalidJob: there are more than may be fetched for one item.
        NotSupported | StatusPermanent | StatusTransient: the node refused the query.
    """
    given = {
        "PatientID": subject.patient_id,
        "AccessionNumber": subject.accession_number,
        "StudyInstanceUID": subject.study_instance_uid,
    }
    found = LookupResult()
    whole_patient = bool(subject.patient_id) and not (
        subject.accession_number or subject.study_instance_uid
    )

    def number() -> int | None:
        known = found.largest("NumberOfPatientRelatedStudies") if whole_patient else None
        return None if known is None else known + len(found.unfit)

    question = Question(
        "STUDY",
        dict.fromkeys(ASKED, "") | given,
        model="study" if _needs_other_model(asker, node, subject) else "",
        number=number,
        most=MAX_MATCHES_PER_STUDY * max_studies,
        relied_on=not subject.study_instance_uid,
    )

    def take(match: Match) -> None:
        found.add(match, fits=fits(given, match))

    if needs_patient(node) and not (subject.patient_id or question.model):
        answer = _ask_each_patient(asker, question, take, found)
    else:
        answer = asker.ask(question, take)
    _require_bounded(found, max_studies)
    if not subject.study_instance_uid:
        _judge(found, answer, number())
    if whole_patient:
        found.instances = found.largest("NumberOfPatientRelatedInstances")
    return found


def _ask_each_patient(
    asker: Asker, question: Question, take: Callable[[Match], None], found: LookupResult
) -> QueryAnswer:
    """Query the patients first, and then the studies of each (PS3.4 C.4.1.3.1.2).

    Raises:
        InvalidJob: there are too many patients to query each.
    """
    patients: dict[str, None] = {}
    listed = asker.ask(
        Question("PATIENT", {"PatientID": ""}, most=MAX_PATIENTS + 1),
        lambda match: patients.update({text_of(match, "PatientID"): None}),
    )
    if len(patients) > MAX_PATIENTS:
        raise InvalidJob(
            message(
                "the node's query model needs the Patient ID, and it has more than "
                "%(max_patients)s patients: name the patient with the study",
                max_patients=MAX_PATIENTS,
            )
        )
    askable = [patient for patient in patients if is_single(patient)]
    cut, unchecked = listed.cut, listed.unchecked
    if len(askable) < len(patients):
        cut = cut or message("the node has patients whose Patient ID cannot be asked for")
    for patient in askable:
        answer = asker.ask(replace(question, keys={**question.keys, "PatientID": patient}), take)
        cut, unchecked = cut or answer.cut, unchecked or answer.unchecked
        if found.studies and question.keys["StudyInstanceUID"]:
            break
    return replace(listed, matches=len(found.studies), cut=cut, unchecked=unchecked)


def _require_bounded(found: LookupResult, max_studies: int) -> None:
    if len(found.studies) > max_studies:
        raise InvalidJob(
            message(
                "the node names more than %(max_studies)s studies for this item, the "
                "most that DRAW_QR_WORKER_MAX_STUDIES_PER_ITEM lets one item fetch",
                max_studies=max_studies,
            )
        )
    if not found.studies:
        if not found.unfit:
            raise NothingThere(message("the node has no study that fits what the job names"))
        raise NothingThere(
            message(
                "the node has no study that fits what the job names; it named %(unfit)s that do"
                " not fit",
                unfit=len(found.unfit),
            )
        )


def _judge(found: LookupResult, answer: QueryAnswer, number: int | None) -> None:
    named = len(found.studies) + len(found.unfit)
    if number is not None and named < number:
        found.lacking = message(
            "the node says that there are %(number)s studies and names %(studies)s",
            number=number - len(found.unfit),
            studies=len(found.studies),
        )
    elif found.nameless:
        found.lacking = message("the node names a study by an invalid Study Instance UID")
    else:
        found.doubt = answer.cut or answer.unchecked


def text_of(match: Match, keyword: str) -> str:
    """Return one value as text without padding; empty for several values or none."""
    value = match.get(keyword)
    return str(value).strip(" \0") if isinstance(value, str | int) else ""


def number_of(match: Match, keyword: str) -> int | None:
    """Return the number in the match; None if the match has none."""
    text = text_of(match, keyword)
    return (int(text) or None) if text.isdecimal() else None


def merge_larger(one: Match, other: Match) -> Match:
    """Return a repeated match with the larger of each of its numbers."""
    merged = dict(one)
    for keyword in other:
        number = number_of(other, keyword) if keyword.startswith("NumberOf") else None
        if number is not None and number > (number_of(one, keyword) or 0):
            merged[keyword] = number
    return merged


def fits(given: Mapping[str, str], match: Match) -> bool:
    """Return whether a match has the requested values, by our own matching rules."""
    for keyword, vr in KEYS.items():
        condition = parse(vr, given.get(keyword, ""))
        if isinstance(condition, Texts | Patterns) and not text_fits(
            condition, text_of(match, keyword)
        ):
            return False
    return True


def _needs_other_model(asker: Asker, node: RemoteNode, subject: Subject) -> bool:
    """Return whether the node must be asked in a model that needs no Patient ID."""
    return needs_patient(node) and not subject.patient_id and "study" in asker.models
