"""The content of objects: the image viewer, pictures, elements, files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.downloads import archive_headers
from draw_api.handlers.web import words
from draw_api.handlers.web.deliveries import STATES, newest_of
from draw_api.handlers.web.languages import N_
from draw_api.handlers.web.pages import View, page
from draw_api.handlers.web.parameters import SearchText, UidInPath
from draw_api.handlers.web.visitor import page_requires
from draw_api.handlers.work import InWork
from draw_api.models.archive import Series, Study
from draw_api.models.conflicts import ConflictCriteria
from draw_api.models.deliveries import RoutedDelivery
from draw_api.models.objects import (
    MAX_EDGE,
    MAX_FRAMES,
    Element,
    Elements,
    ObjectFacts,
    Picture,
    Rendering,
    StoredSlice,
)
from draw_api.models.paging import Page
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadArchive = Annotated[Principal, page_requires(Permission.READ_ARCHIVE)]
MayDownloadObjects = Annotated[Principal, page_requires(Permission.DOWNLOAD_OBJECTS)]

THUMBNAIL_EDGE: Final = 152
NO_PICTURE: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 76 76"><g fill="none" stroke="#7d8794"'
    ' stroke-width="3"><rect x="18" y="22" width="40" height="32" rx="3"/>'
    '<path d="m18 54 40-32"/></g></svg>'
)
"""In the place of a picture that no object of a series has."""
PRESETS: Final = {
    "CT": (
        (N_("Soft tissue"), 40, 400),
        (N_("Lung"), -600, 1500),
        (N_("Bone"), 400, 1800),
        (N_("Brain"), 40, 80),
    ),
}
BESIDE: Final = 30
"""Series that are offered before and after the one in view."""
WITHOUT_PICTURE: Final = ("RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG", "DOC")
DICOM_DATE: Final = re.compile(r"\d{8}")
Number = Annotated[float | None, Query(ge=-1e9, le=1e9, allow_inf_nan=False)]
Frame = Annotated[int, Query(ge=1, le=MAX_FRAMES)]


@dataclass(frozen=True, slots=True)
class SeriesView(View):
    """One series, and the object in view."""

    template: ClassVar[str] = "series/detail.html.jinja"

    study: Study
    series: Series
    others: Sequence[Series]
    """The series of the study around this one, by number, this one among them."""
    conflicts: bool
    """Whether images of the study are in conflict."""
    slices: list[StoredSlice]
    position: int
    frame: int
    facts: ObjectFacts
    center: float | None
    width: float | None
    inverted: bool
    gone: Page[RoutedDelivery]
    """The newest of its deliveries."""
    delivery_states: ClassVar[Mapping[str, tuple[str, str]]] = STATES
    without_picture: ClassVar[tuple[str, ...]] = WITHOUT_PICTURE

    @property
    def shown(self) -> StoredSlice:
        """The object in view."""
        return self.slices[self.position - 1]

    @property
    def steps(self) -> list[tuple[str, int, int | None]]:
        """Each object with its frames and its number, for the viewer's slider."""
        return [(one.sop_instance_uid, one.frames, one.instance_number) for one in self.slices]

    @property
    def dated(self) -> list[tuple[str, str]]:
        """What the object says of itself, with dates as people write them."""
        return [(name, _date_in_words(value)) for name, value in self.facts.facts]

    @property
    def presets(self) -> tuple[tuple[str, int, int], ...]:
        """The usual windows of the modality."""
        return PRESETS.get(self.series.modality, ())


@dataclass(frozen=True, slots=True)
class ElementsView(View):
    """The elements of one object."""

    template: ClassVar[str] = "instances/elements.html.jinja"
    fragment: ClassVar[str] = "instances/_elements.html.jinja"

    sop_instance_uid: str
    elements: Elements
    search: str

    @property
    def rows(self) -> list[Element]:
        """The elements, as rows of a table."""
        return self.elements.items


@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}",
    dependencies=[costs(RequestCost.OBJECTS)],
)
def series(  # noqa: PLR0917 - query parameters, given by name
    request: Request,
    by: MayReadArchive,
    work: InWork,
    study_instance_uid: UidInPath,
    series_instance_uid: UidInPath,
    object_: Annotated[int | None, Query(alias="object", ge=1, le=MAX_FRAMES)] = None,
    frame: Annotated[int | None, Query(ge=1, le=MAX_FRAMES)] = None,
    center: Number = None,
    width: Number = None,
    inverted: Annotated[bool, Query()] = False,  # noqa: FBT002 - a query parameter
) -> Response:
    """Show a series, from its middle on: its images, or its tables."""
    study = work.archive.study(study_instance_uid)
    found = work.archive.one_series(study_instance_uid, series_instance_uid)
    slices = list(work.objects.slices(series_instance_uid))
    if not slices:
        raise NotFound("There is no object in this series any more.")
    position = min(object_ or _middle(len(slices)), len(slices))
    shown = slices[position - 1]
    frame = min(frame or (_middle(shown.frames) if object_ is None else 1), shown.frames)
    if object_ is None:
        work.objects.view(by, study_instance_uid, series_instance_uid)
    view = SeriesView(
        study=study,
        series=found,
        others=work.archive.series_around(series_instance_uid, BESIDE),
        conflicts=bool(
            work.conflicts.conflicts(ConflictCriteria(study_instance_uid), None, 1).items
        ),
        slices=slices,
        position=position,
        frame=frame,
        facts=work.objects.facts(by, shown.sop_instance_uid, frame),
        center=center,
        width=width,
        inverted=inverted,
        gone=newest_of(work, study_instance_uid, series_instance_uid),
    )
    return page(request, by, view)


@router.get("/instances/{sop_instance_uid}/picture", dependencies=[costs(RequestCost.OBJECTS)])
def picture(
    by: MayReadArchive,
    work: InWork,
    sop_instance_uid: UidInPath,
    frame: Frame = 1,
    center: Number = None,
    width: Number = None,
    edge: Annotated[int, Query(ge=16, le=MAX_EDGE)] = 1024,
    inverted: Annotated[bool, Query()] = False,  # noqa: FBT002 - a query parameter
) -> Response:
    """Return one frame as a picture."""
    rendering = Rendering(frame, center, width, edge, inverted)
    return _picture_response(work.objects.picture(by, sop_instance_uid, rendering))


@router.get("/series/{series_instance_uid}/thumbnail", dependencies=[costs(RequestCost.OBJECTS)])
def thumbnail(by: MayReadArchive, work: InWork, series_instance_uid: UidInPath) -> Response:
    """Return a small picture from the middle of a series, or of another object that has one."""
    slices = work.objects.slices(series_instance_uid)
    if not slices:
        raise NotFound("There is no object in this series any more.")
    number = len(slices)
    for index in dict.fromkeys((number // 2, number // 4, 3 * number // 4, 0, number - 1)):
        one = slices[index]
        rendering = Rendering(frame=_middle(one.frames), edge=THUMBNAIL_EDGE)
        try:
            return _picture_response(work.objects.picture(by, one.sop_instance_uid, rendering))
        except (Conflict, NotFound):
            continue
    return Response(NO_PICTURE, media_type="image/svg+xml")


@router.get("/instances/{sop_instance_uid}/elements", dependencies=[costs(RequestCost.OBJECTS)])
def elements(
    request: Request,
    by: MayReadArchive,
    work: InWork,
    sop_instance_uid: UidInPath,
    search: SearchText = "",
) -> Response:
    """Show the elements of an object as a tree."""
    found = work.objects.elements(by, sop_instance_uid, search.strip())
    return page(request, by, ElementsView(sop_instance_uid, found, search))


@router.get(
    "/studies/{study_instance_uid}/archive.zip", dependencies=[costs(RequestCost.DOWNLOADS)]
)
def download(
    by: MayDownloadObjects, work: InWork, study_instance_uid: UidInPath
) -> StreamingResponse:
    """Return all files of a study as a ZIP archive."""
    study = work.archive.study(study_instance_uid)
    return StreamingResponse(
        work.objects.hand_out_study(by, study_instance_uid),
        media_type="application/zip",
        headers=archive_headers([study]),
    )


@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}/archive.zip",
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def download_series(
    by: MayDownloadObjects,
    work: InWork,
    study_instance_uid: UidInPath,
    series_instance_uid: UidInPath,
) -> StreamingResponse:
    """Return all files of a series as a ZIP archive."""
    found = work.archive.one_series(study_instance_uid, series_instance_uid)
    return StreamingResponse(
        work.objects.hand_out_series(by, study_instance_uid, found.series_instance_uid),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{series_instance_uid}.zip"'},
    )


def _date_in_words(value: str) -> str:
    """Return a date of DICOM (PS3.5 6.2) as the language writes it; other values as they are."""
    if DICOM_DATE.fullmatch(value):
        try:
            return words.day(date.fromisoformat(value))
        except ValueError:
            pass
    return value


def _middle(number: int) -> int:
    """Return the middle one of so many, counted from 1."""
    return number // 2 + 1 if number > 1 else 1


def _picture_response(found: Picture) -> Response:
    return Response(found.content, media_type=found.media_type)
