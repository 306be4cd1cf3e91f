"""Storage: how full, how fast, by whom; preview of clean-up; hold and delete a study."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from draw_api.handlers.csv_cells import csv_of
from draw_api.handlers.web import words
from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import validate_form
from draw_api.handlers.web.languages import _, ngettext, said
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, UidInPath
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, WorkFactory
from draw_api.models.archive import Study
from draw_api.models.paging import Page
from draw_api.models.storage import (
    CleanUpPreview,
    GrowthDay,
    Hold,
    ModalityUsage,
    PatientUsage,
    StorageUsage,
    StudyUsage,
)
from draw_api.services.storage import StorageService
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Invalid
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadStorage = Annotated[Principal, page_requires(Permission.READ_STORAGE)]
MayPreviewCleanUp = Annotated[Principal, page_requires(Permission.PREVIEW_CLEAN_UP)]
MayHoldStudies = Annotated[Principal, page_requires(Permission.HOLD_STUDIES)]
HoldStudiesAct = Annotated[SubmittedForm, form_requires(Permission.HOLD_STUDIES)]
MayDeleteStudies = Annotated[Principal, page_requires(Permission.DELETE_STUDIES)]
DeleteStudiesAct = Annotated[SubmittedForm, form_requires(Permission.DELETE_STUDIES)]

MAX_LISTED: Final = 10
EXPORT_PAGE: Final = 1000
MAX_EXPORTED: Final = 100_000
"""Lines of a CSV file."""
STUDY_COLUMNS: Final = (
    "study_instance_uid",
    "patient_id",
    "patient_name",
    "study_date",
    "description",
    "modalities",
    "instances",
    "size_bytes",
    "held",
    "last_received_at",
)
PATIENT_COLUMNS: Final = (
    "patient_id",
    "issuer_of_patient_id",
    "name",
    "studies",
    "instances",
    "size_bytes",
)
DAYS: Final = 30
BAR_HEIGHT: Final = 60
ListOfStorage = Callable[[StorageService, str | None, int], Page[Any]]


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the growth chart, as a rectangle."""

    day: GrowthDay
    x: int
    height: float


@dataclass(frozen=True, slots=True)
class StorageView(View):
    """How full the storage is and what fills it."""

    template: ClassVar[str] = "storage/detail.html.jinja"

    usage: StorageUsage
    growth: list[GrowthDay]
    modalities: list[ModalityUsage]
    patients: list[PatientUsage]
    studies: list[StudyUsage]

    @property
    def bars(self) -> list[Bar]:
        """The growth as rectangles of at most 60 units of height."""
        top = max((day.size_bytes for day in self.growth), default=0) or 1
        return [
            Bar(day, 10 * position, max(0.0, BAR_HEIGHT * day.size_bytes / top))
            for position, day in enumerate(self.growth)
        ]


@dataclass(frozen=True, slots=True)
class CleanUpView(View):
    """Exactly what the clean-up would delete now."""

    template: ClassVar[str] = "storage/clean-up.html.jinja"

    preview: CleanUpPreview
    days: int | None


@router.get("/storage", dependencies=[costs(RequestCost.SUMS)])
def storage(request: Request, by: MayReadStorage, work: InWork) -> Response:
    """Show how full the storage is."""
    view = StorageView(
        usage=work.storage.usage(),
        growth=list(work.storage.growth(DAYS)),
        modalities=list(work.storage.modalities()),
        patients=work.storage.patients(None, MAX_LISTED).items,
        studies=work.storage.studies(None, MAX_LISTED).items,
    )
    return page(request, by, view)


@router.get("/storage/studies.csv", dependencies=[costs(RequestCost.DOWNLOADS)])
def studies_csv(request: Request, _by: MayReadStorage) -> StreamingResponse:
    """Return the largest studies as CSV."""
    return _csv_response("studies", _rows(request, STUDY_COLUMNS, StorageService.studies))


@router.get("/storage/patients.csv", dependencies=[costs(RequestCost.DOWNLOADS)])
def patients_csv(request: Request, _by: MayReadStorage) -> StreamingResponse:
    """Return the largest patients as CSV."""
    return _csv_response("patients", _rows(request, PATIENT_COLUMNS, StorageService.patients))


@router.get("/storage/clean-up", dependencies=[costs(RequestCost.SUMS)])
def clean_up(
    request: Request,
    by: MayPreviewCleanUp,
    work: InWork,
    days: Annotated[int | None, Query(ge=1, le=3650)] = None,
    cursor: Cursor = None,
) -> Response:
    """Show what the clean-up would delete, without deleting it."""
    preview = work.storage.clean_up_preview(days, cursor, ON_A_PAGE)
    return page(request, by, CleanUpView(preview, days))


@router.get("/studies/{study_instance_uid}/hold")
def ask_hold(
    request: Request, by: MayHoldStudies, work: InWork, study_instance_uid: UidInPath
) -> Response:
    """Ask why a study is to be held."""
    return page(request, by, _hold_view(work.archive.study(study_instance_uid)))


@router.post("/studies/{study_instance_uid}/hold")
def hold(
    request: Request, act: HoldStudiesAct, work: InWork, study_instance_uid: UidInPath
) -> Response:
    """Hold a study."""
    try:
        told = validate_form(Hold, {"reason": act.form.text("reason")})
    except Invalid as error:
        view = _hold_view(work.archive.study(study_instance_uid))
        return _ask_again(request, act, view, error)
    work.storage.hold(act.by, study_instance_uid, told.reason)
    return redirect(f"/studies/{study_instance_uid}", "study-held")


@router.post("/studies/{study_instance_uid}/release")
def release(act: HoldStudiesAct, work: InWork, study_instance_uid: UidInPath) -> Response:
    """Release a held study."""
    work.storage.release(act.by, study_instance_uid)
    return redirect(f"/studies/{study_instance_uid}", "study-released")


@router.get("/studies/{study_instance_uid}/delete")
def ask_delete(
    request: Request, by: MayDeleteStudies, work: InWork, study_instance_uid: UidInPath
) -> Response:
    """Ask why a study is to be deleted."""
    return page(request, by, _delete_view(work.archive.study(study_instance_uid)))


@router.post("/studies/{study_instance_uid}/delete")
def delete(
    request: Request, act: DeleteStudiesAct, work: InWork, study_instance_uid: UidInPath
) -> Response:
    """Delete a study."""
    try:
        told = validate_form(Hold, {"reason": act.form.text("reason")})
    except Invalid as error:
        view = _delete_view(work.archive.study(study_instance_uid))
        return _ask_again(request, act, view, error)
    work.storage.delete(act.by, study_instance_uid, told.reason)
    return redirect("/studies", "study-deleted")


def _csv_response(name: str, rows: Iterator[str]) -> StreamingResponse:
    return StreamingResponse(
        rows,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="storage-{name}.csv"'},
    )


def _rows(request: Request, columns: tuple[str, ...], listed: ListOfStorage) -> Iterator[str]:
    """Yield a list in pieces, each read in its own transaction, up to a limit."""
    factory: WorkFactory = request.app.state.work
    yield csv_of([columns])
    cursor, left = None, MAX_EXPORTED
    while left > 0:
        with factory() as work:
            found = listed(work.storage, cursor, EXPORT_PAGE)
        yield csv_of([[_cell(item, name) for name in columns] for item in found.items])
        cursor, left = found.next_cursor, left - EXPORT_PAGE
        if cursor is None:
            return


def _cell(item: BaseModel, name: str) -> object:
    value = getattr(item, name)
    return " ".join(value) if isinstance(value, list) else value


def _hold_view(study: Study) -> ConfirmView:
    here = f"/studies/{study.study_instance_uid}"
    return ConfirmView(
        title=_("Hold this study?"),
        text=_("Clean-up skips it, and nobody can delete it until it is released."),
        button=_("Hold the study"),
        action=f"{here}/hold",
        back=here,
        about=_about(study),
        reason=_("Reason (recorded in the transaction log; do not name the patient)"),
        danger=False,
    )


def _delete_view(study: Study) -> ConfirmView:
    here = f"/studies/{study.study_instance_uid}"
    return ConfirmView(
        title=_("Delete this study permanently?"),
        text=_(
            "The study is removed from the archive and from the disk, with every copy and version"
            " of its images, and with images that were received and are not indexed yet. This"
            " cannot be undone; rebuilding the index does not bring it back."
        ),
        button=_("Delete the study"),
        action=f"{here}/delete",
        back=here,
        about=_about(study),
        reason=_("Reason (recorded in the transaction log; do not name the patient)"),
    )


def _about(study: Study) -> tuple[tuple[str, str], ...]:
    """Return words that identify a study to a person."""
    patient = study.patient
    return (
        (_("Patient"), words.person(patient.name) or _("No name")),
        (_("Born"), words.day(patient.birth_date)),
        (_("Patient ID"), patient.patient_id or words.NIL),
        (_("Study"), f"{words.day(study.study_date)} {study.description}".strip()),
        (_("Modalities"), ", ".join(study.modalities) or words.NIL),
        (_("Accession number"), study.accession_number or words.NIL),
        (ngettext("Series", "Series", study.series_count), words.count(study.series_count)),
        (_("Images"), words.count(study.instance_count)),
        (_("Size"), words.size(study.size_bytes)),
    )


def _ask_again(request: Request, act: SubmittedForm, view: ConfirmView, error: Invalid) -> Response:
    """Return the question with the typed reason and its problem."""
    problem = "; ".join(
        _("It %(problem)s.", problem=said(found.message)) for found in error.problems
    )
    again = replace(view, typed=act.form.text("reason"), problem=problem)
    return page(request, act.by, again, status=HTTPStatus.UNPROCESSABLE_ENTITY)
