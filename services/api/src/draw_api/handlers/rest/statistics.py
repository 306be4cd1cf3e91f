"""Received images by day, sender, modality and SOP class."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from draw_api.handlers.csv_cells import csv_of
from draw_api.handlers.work import InWork, WorkFactory
from draw_api.models.statistics import Statistics, StatisticsCriteria
from draw_api.services.statistics import MAX_DAYS, days_of, require_span
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.moments import CalendarDate
from draw_shared.contracts.texts import LINE
from draw_shared.dicom.encoding.dictionary import registered_uids
from draw_shared.web.identity import requires
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(prefix="/api/v1/statistics", tags=["status"])

MayReadStatus = Annotated[Principal, requires(Permission.READ_STATUS)]

COLUMNS: Final = (
    "day", "calling_ae", "modality", "sop_class_uid", "sop_class", "received", "failed",
    "size_bytes", "p50_seconds", "p95_seconds",
)  # fmt: skip


def _criteria(
    work: InWork,
    days: Annotated[int, Query(ge=1, le=MAX_DAYS, description="up to today (UTC)")] = 30,
    first_day: Annotated[CalendarDate | None, Query(description="instead of `days`")] = None,
    last_day: Annotated[CalendarDate | None, Query(description="empty: today")] = None,
    calling_ae: Annotated[str, Query(max_length=64, description="sender; empty: any"), LINE] = "",
    modality: Annotated[str, Query(max_length=16, description="empty: any"), LINE] = "",
) -> StatisticsCriteria:
    last = last_day or datetime.now(UTC).date()
    first = first_day or max(last, date(1900, 1, 1)) - timedelta(days=days - 1)
    classes = work.statistics.sop_classes_of(modality) if modality else None
    return StatisticsCriteria(first, last, calling_ae, classes)


Criteria = Annotated[StatisticsCriteria, Depends(_criteria)]


@router.get("", dependencies=[costs(RequestCost.SUMS)])
def statistics(_: MayReadStatus, work: InWork, criteria: Criteria) -> Statistics:
    """Return how much was received in a span of days, by each of its sides."""
    return work.statistics.statistics(criteria)


@router.get(
    "/export.csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "a line by day, sender, class"}},
    dependencies=[costs(RequestCost.DOWNLOADS)],
)
def export(request: Request, _: MayReadStatus, criteria: Criteria) -> StreamingResponse:
    """Return the sums by day, sender and SOP class as CSV; no cell can be a formula."""
    require_span(criteria)
    return StreamingResponse(
        _csv(request.app.state.work, criteria),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="statistics.csv"'},
    )


def _csv(factory: WorkFactory, criteria: StatisticsCriteria) -> Iterator[str]:
    """Yield the table day by day, each read in its own transaction."""
    known = registered_uids()
    yield csv_of([COLUMNS])
    for day in days_of(criteria):
        with factory() as work:
            rows = list(work.statistics.rows_of(day, criteria))
        if rows:
            yield csv_of(
                [
                    (
                        row.day.isoformat(), row.calling_ae, row.modality, row.sop_class_uid,
                        known[row.sop_class_uid].name if row.sop_class_uid in known else "",
                        row.received, row.failed, row.size_bytes, row.p50_seconds, row.p95_seconds,
                    )
                    for row in rows
                ]
            )  # fmt: skip
