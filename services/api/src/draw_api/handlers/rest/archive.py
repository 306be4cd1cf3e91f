"""Patients, studies, series and instances of the index."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from draw_api.handlers.identity import requires
from draw_api.handlers.problems import responses
from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, SearchText, UidInPath
from draw_api.handlers.turns import RequestCost, costs
from draw_api.handlers.work import InWork
from draw_api.models.access import Principal
from draw_api.models.archive import (
    Instance,
    Patient,
    PatientCriteria,
    Series,
    Study,
    StudyCriteria,
)
from draw_api.models.failures import NotFound
from draw_api.models.moments import CalendarDate
from draw_api.models.paging import Page
from draw_api.models.permissions import Permission
from draw_api.models.texts import MODALITY
from draw_shared.contracts.identifiers import Uid
from draw_shared.wording import message

router = APIRouter(prefix="/api/v1", tags=["archive"])

MayReadArchive = Annotated[Principal, requires(Permission.READ_ARCHIVE)]
MayDownloadObjects = Annotated[Principal, requires(Permission.DOWNLOAD_OBJECTS)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)


@router.get("/patients")
def patients(
    _: MayReadArchive,
    work: InWork,
    patient_id: SearchText = "",
    name: SearchText = "",
    ambiguous: Annotated[
        bool | None, Query(description="whether several people are named under one identity")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Patient]:
    """Return patients, last added first; identifier and name match by their beginning.

    A name also matches other persons whom objects name under the same identity.
    """
    return work.archive.patients(PatientCriteria(patient_id, name, ambiguous), cursor, limit)


@router.get("/studies")
def studies(  # noqa: PLR0917 - query parameters, given by name
    _: MayReadArchive,
    work: InWork,
    patient_id: SearchText = "",
    patient_name: SearchText = "",
    study_instance_uid: Annotated[Uid | None, Query()] = None,
    accession_number: SearchText = "",
    date_from: Annotated[CalendarDate | None, Query(description="earliest Study Date")] = None,
    date_to: Annotated[CalendarDate | None, Query(description="latest Study Date")] = None,
    modality: Annotated[str, Query(description="of any series", examples=["CT"]), MODALITY] = "",
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[Study]:
    """Return studies, last added first; patient identifier and name match by their beginning.

    If a patient is several people, a study has the name in its own objects.
    """
    criteria = StudyCriteria(
        patient_id=patient_id,
        patient_name=patient_name,
        study_instance_uid=study_instance_uid or "",
        accession_number=accession_number,
        date_from=date_from,
        date_to=date_to,
        modality=modality,
    )
    return work.archive.studies(criteria, cursor, limit)


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
