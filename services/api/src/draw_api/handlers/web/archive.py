"""Studies and patients of the archive, and one study with its series."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.web.forms import validate_form
from draw_api.handlers.web.objects import by_number
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import (
    ON_A_PAGE,
    Cursor,
    RowId,
    SearchText,
    UidInPath,
    day_of,
)
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork
from draw_api.models.access import Principal
from draw_api.models.archive import Patient, PatientCriteria, Series, Study, StudyCriteria
from draw_api.models.conflicts import ConflictCriteria, ObjectConflict
from draw_api.models.jobs import NewSend
from draw_api.models.nodes import Node
from draw_api.models.paging import Page
from draw_api.models.permissions import Permission
from draw_api.models.texts import MODALITY
from draw_api.models.transactions import Transaction, TransactionCriteria

router = APIRouter(include_in_schema=False)

MayReadArchive = Annotated[Principal, page_requires(Permission.READ_ARCHIVE)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

MAX_SERIES: Final = 500
MAX_NODES: Final = 200
MAX_CONFLICTS: Final = 20
SPANS: Final = (("Today", 0), ("7 days", 6), ("30 days", 29))
MODALITIES: Final = ("CT", "MR", "PT", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "CR", "DX", "US")


@dataclass(frozen=True, slots=True)
class StudyListView(View):
    """A page of the studies that match."""

    template: ClassVar[str] = "studies/list.html.jinja"
    fragment: ClassVar[str] = "studies/_list.html.jinja"

    found: Page[Study]
    asked: dict[str, str]
    modalities: tuple[str, ...] = MODALITIES

    @property
    def spans(self) -> list[tuple[str, str]]:
        """Usual spans of study dates, by the first day of each."""
        today = datetime.now(UTC).date()
        return [(name, (today - timedelta(days=days)).isoformat()) for name, days in SPANS]

    @property
    def detailed(self) -> bool:
        """Whether anything beside the one search field is filled in."""
        return any(value for name, value in self.asked.items() if name != "search")

    @property
    def filtered(self) -> bool:
        """Whether anything was searched for."""
        return any(self.asked.values())


@dataclass(frozen=True, slots=True)
class PatientListView(View):
    """A page of the patients that match."""

    template: ClassVar[str] = "patients/list.html.jinja"
    fragment: ClassVar[str] = "patients/_list.html.jinja"

    found: Page[Patient]
    patient_id: str
    name: str
    ambiguous: bool

    @property
    def filtered(self) -> bool:
        """Whether anything was searched for."""
        return bool(self.patient_id or self.name or self.ambiguous)


@dataclass(frozen=True, slots=True)
class PatientView(View):
    """One patient, by identity, with the studies."""

    template: ClassVar[str] = "patients/detail.html.jinja"
    fragment: ClassVar[str] = "studies/_list.html.jinja"

    patient: Patient
    found: Page[Study]
    filtered: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class StudyView(View):
    """One study with its series."""

    template: ClassVar[str] = "studies/detail.html.jinja"

    study: Study
    series: list[Series]
    more_series: bool
    conflicts: Page[ObjectConflict]
    nodes: list[Node]
    hold: Transaction | None
    """The line of the log that says who holds the study, and why."""


@router.get("/studies")
def studies(  # noqa: PLR0917 - query parameters, given by name
    request: Request,
    by: MayReadArchive,
    work: InWork,
    search: SearchText = "",
    patient_name: SearchText = "",
    patient_id: SearchText = "",
    accession_number: SearchText = "",
    modality: Annotated[str, Query(), MODALITY] = "",
    date_from: SearchText = "",
    date_to: SearchText = "",
    study_instance_uid: SearchText = "",
    cursor: Cursor = None,
) -> Response:
    """List studies, last received first."""
    criteria = StudyCriteria(
        patient_id=patient_id.strip(),
        patient_name=patient_name.strip(),
        study_instance_uid=study_instance_uid.strip(),
        accession_number=accession_number.strip(),
        date_from=day_of(date_from),
        date_to=day_of(date_to),
        modality=modality,
        search=search.strip(),
    )
    asked = {
        "search": search,
        "patient_name": patient_name,
        "patient_id": patient_id,
        "accession_number": accession_number,
        "modality": modality,
        "date_from": date_from,
        "date_to": date_to,
        "study_instance_uid": study_instance_uid,
    }
    found = work.archive.studies(criteria, cursor, ON_A_PAGE).page
    return page(request, by, StudyListView(found, asked))


@router.get("/patients")
def patients(
    request: Request,
    by: MayReadArchive,
    work: InWork,
    patient_id: SearchText = "",
    name: SearchText = "",
    ambiguous: SearchText = "",
    cursor: Cursor = None,
) -> Response:
    """List patients, last added first."""
    several = ambiguous == "true"
    criteria = PatientCriteria(patient_id.strip(), name.strip(), several or None)
    found = work.archive.patients(criteria, cursor, ON_A_PAGE).page
    return page(request, by, PatientListView(found, patient_id, name, several))


@router.get("/patients/{patient_key}")
def patient(
    request: Request, by: MayReadArchive, work: InWork, patient_key: RowId, cursor: Cursor = None
) -> Response:
    """Show one patient with the studies, last received first."""
    found = work.archive.patient(patient_key)
    studies = work.archive.studies(StudyCriteria(patient_key=patient_key), cursor, ON_A_PAGE).page
    return page(request, by, PatientView(found, studies))


@router.get("/studies/{study_instance_uid}")
def study(
    request: Request, by: MayReadArchive, work: InWork, study_instance_uid: UidInPath
) -> Response:
    """Show one study."""
    series = work.archive.series(study_instance_uid, None, MAX_SERIES)
    found = work.archive.study(study_instance_uid)
    held = TransactionCriteria(uid=study_instance_uid, action="study.hold")
    view = StudyView(
        study=found,
        series=sorted(series.items, key=by_number),
        hold=next(iter(work.transactions.transactions(held, None, 1).items), None)
        if found.held
        else None,
        more_series=series.next_cursor is not None,
        conflicts=work.conflicts.conflicts(
            ConflictCriteria(study_instance_uid), None, MAX_CONFLICTS
        ),
        nodes=[node for node in work.nodes.nodes(None, MAX_NODES).items if node.active],
    )
    return page(request, by, view)


@router.post("/studies/{study_instance_uid}/send")
def send(act: RunJobsAct, work: InWork, study_instance_uid: UidInPath) -> Response:
    """Send a study, or one series of it, to a remote node."""
    wanted = {
        "kind": "send",
        "node_id": act.form.text("node_id"),
        "study_instance_uid": study_instance_uid,
        "series_instance_uid": act.form.text("series_instance_uid"),
    }
    job = work.jobs.create(act.by, validate_form(NewSend, wanted))
    return redirect(f"/jobs/{job.id}", "job-created")
