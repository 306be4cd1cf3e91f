"""The storage: what fills it, when it will be full, what is deleted and what stays."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from draw_api.handlers.rest.parameters import DEFAULT_LIMIT, Cursor, Limit, UidInPath
from draw_api.handlers.work import InWork
from draw_api.models.paging import Page
from draw_api.models.storage import (
    CleanUpPreview,
    Deleted,
    GrowthDay,
    Hold,
    ModalityUsage,
    PatientUsage,
    Reason,
    StorageUsage,
    StudyUsage,
)
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.web.identity import requires
from draw_shared.web.problems import responses
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(prefix="/api/v1", tags=["storage"])

MayReadStorage = Annotated[Principal, requires(Permission.READ_STORAGE)]
MayPreviewCleanUp = Annotated[Principal, requires(Permission.PREVIEW_CLEAN_UP)]
MayHoldStudies = Annotated[Principal, requires(Permission.HOLD_STUDIES)]
MayDeleteStudies = Annotated[Principal, requires(Permission.DELETE_STUDIES)]

NOT_FOUND = responses(HTTPStatus.NOT_FOUND)


@router.get("/storage", dependencies=[costs(RequestCost.SUMS)])
def usage(_: MayReadStorage, work: InWork) -> StorageUsage:
    """Return how full the storage is by quota and disk, and when it will be full."""
    return work.storage.usage()


@router.get("/storage/growth")
def growth(
    _: MayReadStorage, work: InWork, days: Annotated[int, Query(ge=1, le=3650)] = 30
) -> list[GrowthDay]:
    """Return what was received on each of the last days, oldest first."""
    return list(work.storage.growth(days))


@router.get("/storage/patients")
def patients(
    _: MayReadStorage, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[PatientUsage]:
    """Return patients by the space they occupy, largest first."""
    return work.storage.patients(cursor, limit)


@router.get("/storage/studies")
def studies(
    _: MayReadStorage, work: InWork, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[StudyUsage]:
    """Return studies by the space they occupy, largest first."""
    return work.storage.studies(cursor, limit)


@router.get("/storage/modalities")
def modalities(_: MayReadStorage, work: InWork) -> list[ModalityUsage]:
    """Return modalities by the space they occupy, largest first."""
    return list(work.storage.modalities())


@router.get("/storage/clean-up", dependencies=[costs(RequestCost.SUMS)])
def clean_up_preview(
    _: MayPreviewCleanUp,
    work: InWork,
    retention_days: Annotated[
        int | None, Query(ge=1, le=3650, description="another retention than the configured one")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> CleanUpPreview:
    """Return exactly what the clean-up would delete now; nothing is deleted."""
    return work.storage.clean_up_preview(retention_days, cursor, limit)


@router.put(
    "/studies/{study_instance_uid}/hold",
    status_code=HTTPStatus.NO_CONTENT,
    responses=NOT_FOUND,
)
def hold(by: MayHoldStudies, work: InWork, study_instance_uid: UidInPath, body: Hold) -> None:
    """Exempt a study from clean-up and deletion."""
    work.storage.hold(by, study_instance_uid, body.reason)


@router.delete(
    "/studies/{study_instance_uid}/hold",
    status_code=HTTPStatus.NO_CONTENT,
    responses=NOT_FOUND,
)
def release(by: MayHoldStudies, work: InWork, study_instance_uid: UidInPath) -> None:
    """Allow clean-up and deletion of a study again."""
    work.storage.release(by, study_instance_uid)


@router.delete(
    "/studies/{study_instance_uid}",
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def delete(
    by: MayDeleteStudies,
    work: InWork,
    study_instance_uid: UidInPath,
    reason: Annotated[Reason, Query()],
) -> Deleted:
    """Delete a study: no query finds it any more, and its files are removed within seconds.

    Nothing of it comes back, neither by rebuilding the index nor from announcements that are still
    under way; only objects received from now on are stored.
    """
    return work.storage.delete(by, study_instance_uid, reason)
