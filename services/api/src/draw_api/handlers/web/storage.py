"""Storage: how full, how fast, by whom; preview of clean-up; hold and delete a study."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.turns import RequestCost, costs
from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import validate_form
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, UidInPath
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork
from draw_api.models.access import Principal
from draw_api.models.permissions import Permission
from draw_api.models.storage import (
    CleanUpPreview,
    GrowthDay,
    Hold,
    ModalityUsage,
    PatientUsage,
    StorageUsage,
    StudyUsage,
)

router = APIRouter(include_in_schema=False)

MayReadStorage = Annotated[Principal, page_requires(Permission.READ_STORAGE)]
MayPreviewCleanUp = Annotated[Principal, page_requires(Permission.PREVIEW_CLEAN_UP)]
MayHoldStudies = Annotated[Principal, page_requires(Permission.HOLD_STUDIES)]
HoldStudiesAct = Annotated[SubmittedForm, form_requires(Permission.HOLD_STUDIES)]
MayDeleteStudies = Annotated[Principal, page_requires(Permission.DELETE_STUDIES)]
DeleteStudiesAct = Annotated[SubmittedForm, form_requires(Permission.DELETE_STUDIES)]

MAX_LISTED: Final = 10
DAYS: Final = 30
BAR_HEIGHT: Final = 60


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
    """Ask for the reason to hold a study."""
    work.archive.study(study_instance_uid)
    here = f"/studies/{study_instance_uid}"
    view = ConfirmView(
        title="Hold this study?",
        text="Clean-up leaves it alone and nobody can delete it until it is released.",
        button="Hold it",
        action=f"{here}/hold",
        back=here,
        reason="Why? Kept on record; do not name the patient.",
        danger=False,
    )
    return page(request, by, view)


@router.post("/studies/{study_instance_uid}/hold")
def hold(act: HoldStudiesAct, work: InWork, study_instance_uid: UidInPath) -> Response:
    """Hold a study."""
    said = validate_form(Hold, {"reason": act.form.text("reason")})
    work.storage.hold(act.by, study_instance_uid, said.reason)
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
    """Ask for the reason to delete a study."""
    study = work.archive.study(study_instance_uid)
    here = f"/studies/{study_instance_uid}"
    view = ConfirmView(
        title="Delete this study for ever?",
        text=f"{study.instance_count} objects go from the archive and from the disk, with every"
        " copy and version of them, and what was received and is not indexed yet. Rebuilding the"
        " index does not bring them back; there is no way back but to receive them again.",
        button="Delete the study",
        action=f"{here}/delete",
        back=here,
        reason="Why? Kept on record; do not name the patient.",
    )
    return page(request, by, view)


@router.post("/studies/{study_instance_uid}/delete")
def delete(act: DeleteStudiesAct, work: InWork, study_instance_uid: UidInPath) -> Response:
    """Delete a study."""
    said = validate_form(Hold, {"reason": act.form.text("reason")})
    work.storage.delete(act.by, study_instance_uid, said.reason)
    return redirect("/studies", "study-deleted")
