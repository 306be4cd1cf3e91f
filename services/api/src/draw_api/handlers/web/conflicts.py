"""Objects that contradict the index, and patients who are several people."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Request, Response

from draw_api.handlers.web.pages import View, page
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, SearchText
from draw_api.handlers.web.visitor import page_requires
from draw_api.handlers.work import InWork
from draw_api.models.archive import Patient, PatientCriteria
from draw_api.models.conflicts import ConflictCriteria, ConflictKind, ObjectConflict
from draw_api.models.paging import Page
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal

router = APIRouter(include_in_schema=False)

MayReadArchive = Annotated[Principal, page_requires(Permission.READ_ARCHIVE)]

MAX_PATIENTS: Final = 10


@dataclass(frozen=True, slots=True)
class ConflictListView(View):
    """A page of the conflicts that match, and the latest patients with several people."""

    template: ClassVar[str] = "conflicts/list.html.jinja"
    fragment: ClassVar[str] = "conflicts/_list.html.jinja"

    found: Page[ObjectConflict]
    study_instance_uid: str
    kind: str
    patients: Page[Patient]
    kinds: tuple[ConflictKind, ...] = tuple(ConflictKind)

    @property
    def filtered(self) -> bool:
        """Whether anything was searched for."""
        return bool(self.study_instance_uid or self.kind)


@router.get("/conflicts")
def conflicts(
    request: Request,
    by: MayReadArchive,
    work: InWork,
    study_instance_uid: SearchText = "",
    kind: SearchText = "",
    cursor: Cursor = None,
) -> Response:
    """List conflicts, last found first."""
    known = ConflictKind(kind) if kind in set(ConflictKind) else None
    criteria = ConflictCriteria(study_instance_uid.strip(), known)
    view = ConflictListView(
        found=work.conflicts.conflicts(criteria, cursor, ON_A_PAGE),
        study_instance_uid=study_instance_uid,
        kind=known or "",
        patients=work.archive.patients(PatientCriteria(ambiguous=True), None, MAX_PATIENTS).page,
    )
    return page(request, by, view)
