"""Patients, studies, series and instances of the index."""

from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, StreamingResponse

from draw_api.handlers.csv_cells import csv_of
from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, SearchText, UidInPath
from draw_api.handlers.work import InWork, WorkFactory
from draw_api.models.archive import (
    Direction,
    Instance,
    Patient,
    PatientCriteria,
    PatientSort,
    Series,
    Study,
    StudyCriteria,
    StudySort,
    order_by,
)
from draw_api.models.paging import Page
from draw_api.models.texts import MODALITY
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import NotFound
from draw_shared.contracts.identifiers import Uid
from draw_shared.contracts.moments import CalendarDate
from draw_shared.contracts.texts import LINE
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses
from draw_shared.web.turns import RequestCost, costs
from draw_shared.wording import message

router = APIRouter(prefix="/api/v1", tags=["archive"])

MayReadArchive = Annotated[Principal, requires(Permission.READ_ARCHIVE)]
MayDownloadObjects = Annotated[Principal, requires(Permission.DOWNLOAD_OBJECTS)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
Row = TypeVar("Row", Patient, Study)


EXPORT_PAGE: Final = 1000
PATIENT_COLUMNS: Final = (
    "patient_id", "issuer_of_patient_id", "name", "birth_date", "sex", "ambiguous", "study_count",
    "series_count", "instance_count", "size_bytes", "updated_at",
)  # fmt: skip
STUDY_COLUMNS: Final = (
    "study_instance_uid", "study_date", "study_time", "accession_number", "study_id",
    "description", "referring_physician", "modalities", "series_count", "instance_count",
    "size_bytes", "held", "last_received_at",
)  # fmt: skip
STUDY_PATIENT_COLUMNS: Final = ("patient_id", "issuer_of_patient_id", "name", "birth_date", "sex")
CSV: Final = responses() | {
    200: {"content": {"text/csv": {}}, "description": "one line for each; no cell is a formula"}
}
SEARCH: Final = Query(max_length=128, description="words that all are somewhere in it")


def _patient_criteria(
    patient_id: SearchText = "",
    name: SearchText = "",
    ambiguous: Annotated[
        bool | None, Query(description="whether several people are named under one identity")
    ] = None,
    search: Annotated[str, SEARCH, LINE] = "",
) -> PatientCriteria:
    return PatientCriteria(patient_id, name, ambiguous, search)


def _study_criteria(  # noqa: PLR0917 - query parameters, given by name
    patient_id: SearchText = "",
    patient_name: SearchText = "",
    study_instance_uid: Annotated[Uid | None, Query()] = None,
    accession_number: SearchText = "",
    date_from: Annotated[CalendarDate | None, Query(description="earliest Study Date")] = None,
    date_to: Annotated[CalendarDate | None, Query(description="latest Study Date")] = None,
    modality: Annotated[str, Query(description="of any series", examples=["CT"]), MODALITY] = "",
    search: Annotated[str, SEARCH, LINE] = "",
    referring_physician: Annotated[str, SEARCH, LINE] = "",
    held: Annotated[bool | None, Query(description="whether exempt from clean-up")] = None,
    conflicting: Annotated[bool, Query(description="only those with conflicts")] = False,  # noqa: FBT002 - a query parameter
) -> StudyCriteria:
    return StudyCriteria(
        patient_id=patient_id,
        patient_name=patient_name,
        study_instance_uid=study_instance_uid or "",
        accession_number=accession_number,
        date_from=date_from,
        date_to=date_to,
        modality=modality,
        search=search,
        referring_physician=referring_physician,
        held=held,
        conflicting=conflicting,
    )


CriteriaOfPatients = Annotated[PatientCriteria, Depends(_patient_criteria)]
CriteriaOfStudies = Annotated[StudyCriteria, Depends(_study_criteria)]
SortOfPatients = Annotated[PatientSort, Query(description="received: by the first object")]
SortOfStudies = Annotated[StudySort, Query(description="received: by the first object")]
Order = Annotated[
    Direction | None, Query(description="without it from A on, or from the latest or largest")
]


@router.get("/patients")
def patients(
    _: MayReadArchive,
    work: InWork,
    criteria: CriteriaOfPatients,
    sort: SortOfPatients = "received",
    order: Order = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Patient]:
    """Return patients, last added first; identifier and name match by their beginning.

    A name also matches other persons whom objects name under the same identity.
    """
    return work.archive.patients(criteria, cursor, limit, order_by(sort, order)).page


@router.get(
    "/patients/export.csv",
    response_class=StreamingResponse,
    responses=CSV,
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def export_patients(
    request: Request,
    by: MayReadArchive,
    work: InWork,
    criteria: CriteriaOfPatients,
    sort: SortOfPatients = "received",
    order: Order = None,
) -> StreamingResponse:
    """Return every patient that matches as CSV, last added first; it is recorded."""
    work.archive.begin_export(by, "patients")
    factory: WorkFactory = request.app.state.work

    def read(cursor: str | None) -> Page[Patient]:
        with factory() as own:
            return own.archive.patients(criteria, cursor, EXPORT_PAGE, order_by(sort, order)).page

    def line(patient: Patient) -> list[object]:
        return [_written(getattr(patient, name)) for name in PATIENT_COLUMNS]

    return _csv("patients", PATIENT_COLUMNS, read, line)


@router.get("/studies")
def studies(
    _: MayReadArchive,
    work: InWork,
    criteria: CriteriaOfStudies,
    sort: SortOfStudies = "received",
    order: Order = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Study]:
    """Return studies, last added first; patient identifier and name match by their beginning.

    If a patient is several people, a study has the name in its own objects. Words of `search` are
    looked for in names, Patient ID, accession number and description.
    """
    return work.archive.studies(criteria, cursor, limit, order_by(sort, order)).page


@router.get(
    "/studies/export.csv",
    response_class=StreamingResponse,
    responses=CSV,
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def export_studies(
    request: Request,
    by: MayReadArchive,
    work: InWork,
    criteria: CriteriaOfStudies,
    sort: SortOfStudies = "received",
    order: Order = None,
) -> StreamingResponse:
    """Return every study that matches as CSV, last added first; it is recorded."""
    work.archive.studies(criteria, None, 1)
    work.archive.begin_export(by, "studies")
    factory: WorkFactory = request.app.state.work

    def read(cursor: str | None) -> Page[Study]:
        with factory() as own:
            return own.archive.studies(criteria, cursor, EXPORT_PAGE, order_by(sort, order)).page

    def line(study: Study) -> list[object]:
        own = [_written(getattr(study, name)) for name in STUDY_COLUMNS]
        return own + [_written(getattr(study.patient, name)) for name in STUDY_PATIENT_COLUMNS]

    columns = (
        *STUDY_COLUMNS,
        *(f"patient_{n}".replace("patient_patient", "patient") for n in STUDY_PATIENT_COLUMNS),
    )
    return _csv("studies", columns, read, line)


def _written(value: object) -> object:
    """Return a value as it stands in a cell; several modalities as DICOM writes them."""
    return "\\".join(value) if isinstance(value, list) else value


def _csv(
    what: str,
    columns: Sequence[str],
    read: Callable[[str | None], Page[Row]],
    line: Callable[[Row], list[object]],
) -> StreamingResponse:
    """Return a table in pieces, each read in its own transaction."""

    def pieces() -> Iterator[str]:
        yield csv_of([columns])
        cursor: str | None = None
        while True:
            page = read(cursor)
            yield csv_of(map(line, page.items))
            cursor = page.next_cursor
            if cursor is None:
                return

    return StreamingResponse(
        pieces(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{what}.csv"'},
    )


@router.get("/studies/{study_instance_uid}", responses=NOT_FOUND)
def study(_: MayReadArchive, work: InWork, study_instance_uid: UidInPath) -> Study:
    """Return one study."""
    return work.archive.study(study_instance_uid)


@router.get("/studies/{study_instance_uid}/series", responses=NOT_FOUND)
def series(
    _: MayReadArchive,
    work: InWork,
    study_instance_uid: UidInPath,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Series]:
    """Return the study's series, in the order of arrival."""
    return work.archive.series(study_instance_uid, cursor, limit)


@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}/instances", responses=NOT_FOUND
)
def instances(
    _: MayReadArchive,
    work: InWork,
    study_instance_uid: UidInPath,
    series_instance_uid: UidInPath,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Instance]:
    """Return the series' instances, in the order of arrival."""
    return work.archive.instances(study_instance_uid, series_instance_uid, cursor, limit)


@router.get("/instances/{sop_instance_uid}", responses=NOT_FOUND)
def instance(_: MayReadArchive, work: InWork, sop_instance_uid: UidInPath) -> Instance:
    """Return one instance, with the identifiers that appear in logs and messages."""
    return work.archive.instance(sop_instance_uid)


@router.get(
    "/instances/{sop_instance_uid}/file",
    response_class=FileResponse,
    responses=NOT_FOUND
    | {200: {"content": {"application/dicom": {}}, "description": "the Part 10 file as stored"}},
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def instance_file(
    request: Request, by: MayDownloadObjects, work: InWork, sop_instance_uid: UidInPath
) -> FileResponse:
    """Return the file of an instance as it is stored; the access is recorded."""
    stored = work.archive.hand_out(by, sop_instance_uid)
    root: Path = request.app.state.storage_root
    path = (root / stored.path).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise NotFound(message("The file of this instance is not on the storage volume."))
    return FileResponse(
        path, media_type="application/dicom", filename=f"{stored.sop_instance_uid}.dcm"
    )
